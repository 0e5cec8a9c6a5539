// An HBONE server: what it does with a CONNECT follows from the host of its authority. Tells in lines what it sees.
// Argument: { key, cert, ca }.
const http2 = require('node:http2');
const fs = require('node:fs');
const { text } = require('./octets.js');

const options = JSON.parse(process.argv[2]);
const server = http2.createSecureServer({
  key: fs.readFileSync(options.key),
  cert: fs.readFileSync(options.cert),
  ca: fs.readFileSync(options.ca),
  requestCert: true,
  rejectUnauthorized: true,
  minVersion: 'TLSv1.3',
  ALPNProtocols: ['h2'],
});
server.on('tlsClientError', (error) => console.log(`tls-error ${error.code}`));
server.on('sessionError', (error) => console.log(`session-error ${error.code}`));
server.on('session', (session) => {
  console.log(`session ${session.socket.getProtocol()} ${session.socket.authorized} ${session.socket.getPeerCertificate().subjectaltname}`);
  session.on('close', () => console.log('session-closed'));
});
server.on('stream', (stream, headers) => {
  stream.on('error', (error) => console.log(`stream-error ${error.code}`));
  console.log(`request ${headers[':method']} ${headers[':authority']} ${headers[':scheme']} ${headers[':path']}`);
  const mode = headers[':authority'].split(':')[0];
  modes[mode](stream);
});
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));

const refuse = (status) => (stream) => stream.respond({ ':status': status }, { endStream: true });
const modes = {
  echo(stream) {
    stream.respond({ ':status': 200, baggage: 'k8s.cluster.name=node' });
    stream.pipe(stream);
  },
  // Answers when it has heard the end.
  async 'client-first'(stream) {
    stream.respond({ ':status': 200 });
    stream.end(`you said ${await text(stream)}`);
  },
  // Ends first, and still hears.
  async 'server-first'(stream) {
    stream.respond({ ':status': 200 });
    stream.end('hello');
    console.log(`heard ${await text(stream)}`);
  },
  reset(stream) {
    stream.respond({ ':status': 200 });
    stream.once('data', () => stream.destroy(new Error('given up')));
  },
  refuse400: refuse(400),
  refuse401: refuse(401),
  refuse503: refuse(503),
};
