// The Telegram Bot API emulator of the lab. telegram-test-api answers an empty poll at once and forgets an update as soon as
// it has handed it out. Telegram itself holds the poll and keeps an update until the bot confirms it with a higher
// offset, and a failover is about just that: a message that a dying gateway took with it must reach the next one.
'use strict';

const TelegramServer = require('telegram-test-api');
const express = require('express');

const PORT = 9000;
const KEEP_SECONDS = 24 * 60 * 60;
const MAX_HOLD_SECONDS = 25;
// What a gateway asks of Telegram besides messages. Nothing in the lab looks at the effect.
const ACCEPTED = ['deleteMyCommands', 'setMyCommands', 'sendChatAction', 'setMessageReaction', 'setMyName', 'setMyDescription'];

const telegram = new TelegramServer({ port: PORT, host: '0.0.0.0', storeTimeout: KEEP_SECONDS });
const app = express();
app.use(express.json(), express.urlencoded({ extended: true }));

function unconfirmed(token, offset) {
  const { storage } = telegram;
  storage.userMessages = storage.userMessages.filter((update) => update.botToken !== token || update.updateId >= offset);
  return storage.userMessages
    .filter((update) => update.botToken === token)
    .map((update) => TelegramServer.formatUpdate(update));
}

app.all('/bot:token/getUpdates', (req, res) => {
  const asked = { ...req.query, ...req.body };
  const offset = Number(asked.offset) || 0;
  const until = Date.now() + Math.min(Number(asked.timeout) || 0, MAX_HOLD_SECONDS) * 1000;
  const look = () => {
    if (res.destroyed || res.socket === null) {
      return;
    }
    const result = unconfirmed(req.params.token, offset);
    if (result.length > 0 || Date.now() >= until) {
      res.json({ ok: true, result });
    } else {
      setTimeout(look, 100);
    }
  };
  look();
});

app.all(ACCEPTED.map((method) => `/bot:token/${method}`), (_req, res) => {
  res.json({ ok: true, result: true });
});

app.get('/healthz', (_req, res) => {
  res.json({ ok: true });
});

app.use(telegram.webServer);
app.listen(PORT, '0.0.0.0');
process.on('SIGTERM', () => process.exit(0));
