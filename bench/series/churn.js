// Makes garbage, keeps some of it, and grows: node churn.js LIVE_MIB GARBAGE_MIB_A_SECOND LEAK_KIB_A_SECOND.
const BLOCK = 16 * 1024;
const TURNS = 20;
const [live, garbage, leak] = process.argv.slice(2).map(Number);
const ring = new Array(Math.max((live * 1024 * 1024) / BLOCK, 1));
const leaked = [];
let next = 0;

// Arrays of numbers live on the heap that V8 collects; buffers would not.
const memory = (bytes) => new Array(Math.floor(bytes / 8)).fill(0.5);

setInterval(() => {
  for (let block = 0; block < (garbage * 1024 * 1024) / BLOCK / TURNS; block++) {
    next = (next + 1) % ring.length;
    ring[next] = memory(BLOCK);
  }
  leaked.push(memory((leak * 1024) / TURNS));
}, 1000 / TURNS);
