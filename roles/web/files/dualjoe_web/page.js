// Takes the sections that have changed from the server, and leaves alone what a person holds open or stands on.
"use strict";

const lost = document.getElementById("lost");
const QUIET_MS = 10000; // something is heard every two seconds
let heard = Date.now();

function replace(id, html) {
  const old = document.getElementById(id);
  if (!old) return;
  const open = [...old.querySelectorAll("details[open]")].map((each) => each.id);
  const focused = old.contains(document.activeElement) ? [...old.querySelectorAll("[tabindex], summary")].indexOf(document.activeElement) : -1;
  const scrolled = [...old.querySelectorAll(".wide")].map((each) => each.scrollTop);
  old.outerHTML = html;
  const made = document.getElementById(id);
  for (const each of open) document.getElementById(each)?.setAttribute("open", "");
  made.querySelectorAll(".wide").forEach((each, number) => { each.scrollTop = scrolled[number] ?? 0; });
  if (focused >= 0) made.querySelectorAll("[tabindex], summary")[focused]?.focus({ preventScroll: true });
}

const source = new EventSource("events?seen=" + document.body.dataset.number);
source.onmessage = (message) => {
  heard = Date.now();
  lost.hidden = true;
  const news = JSON.parse(message.data);
  if (document.title !== news.title) document.title = document.getElementById("spoken").textContent = news.title;
  for (const [id, html] of Object.entries(news.sections)) replace(id, html);
};
setInterval(() => { lost.hidden = Date.now() - heard < QUIET_MS; }, 1000);
