#!/usr/bin/env node
// Says when a date is: "until 2030-01-31".
let input = "";
for await (const chunk of process.stdin) input += chunk;
const message = JSON.parse(input);

const date = /^until (\d{4}-\d{2}-\d{2})$/.exec(message.text.trim())?.[1];
if (date) {
  const days = Math.ceil((Date.parse(date) - Date.parse(message.received_at)) / 86_400_000);
  console.log(Number.isNaN(days) ? `${date} is no day.` : `${days} days until ${date}, ${message.author.name}.`);
}
