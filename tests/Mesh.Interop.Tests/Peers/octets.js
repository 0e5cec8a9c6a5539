// Octets through streams, and their SHA-256.
const crypto = require('node:crypto');

async function sendRandom(stream, size) {
  const hash = crypto.createHash('sha256');
  for (let left = size; left > 0; left -= 65536) {
    const chunk = crypto.randomBytes(Math.min(left, 65536));
    hash.update(chunk);
    if (!stream.write(chunk)) {
      await new Promise((resolve) => stream.once('drain', resolve));
    }
  }

  stream.end();
  return `${size} ${hash.digest('hex')}`;
}

async function sum(stream) {
  const hash = crypto.createHash('sha256');
  let count = 0;
  stream.on('data', (chunk) => {
    hash.update(chunk);
    count += chunk.length;
  });
  await new Promise((resolve) => stream.once('end', resolve));
  return `${count} ${hash.digest('hex')}`;
}

async function text(stream) {
  let all = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk) => (all += chunk));
  await new Promise((resolve) => stream.once('end', resolve));
  return all;
}

module.exports = { sendRandom, sum, text };
