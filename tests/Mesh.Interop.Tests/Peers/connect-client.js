// An HBONE client: one CONNECT, and what the mode says. Tells in lines what it sees.
// Argument: { host, port, key, cert, ca, mode, size, authority }. Without key it has no certificate.
const http2 = require('node:http2');
const fs = require('node:fs');
const { sendRandom, sum, text } = require('./octets.js');

const options = JSON.parse(process.argv[2]);
const read = (path) => (path ? fs.readFileSync(path) : undefined);
const session = http2.connect(`https://${options.host ?? '127.0.0.1'}:${options.port}`, {
  key: read(options.key),
  cert: read(options.cert),
  ca: read(options.ca),
  ALPNProtocols: ['h2'],
  minVersion: 'TLSv1.3',
  servername: '',
  // The peer's name is a SPIFFE ID, which is not a host name.
  checkServerIdentity: () => undefined,
});
session.on('error', (error) => console.log(`session-error ${error.code} ${error.message}`));
session.on('close', () => console.log('session-closed'));
session.on('goaway', (code) => console.log(`goaway ${code}`));

const stream = session.request({ ':method': 'CONNECT', ':authority': options.authority ?? '10.0.0.1:80', baggage: 'k8s.cluster.name=node' });
stream.on('error', (error) => console.log(`stream-error ${error.code}`));
stream.on('response', (headers) => {
  console.log(`status ${headers[':status']} ${headers.baggage ?? ''}`);
  if (headers[':status'] === 200) {
    modes[options.mode]().then(() => {
      console.log('done');
      session.close();
    });
  } else {
    stream.resume();
    stream.on('end', () => {
      console.log('end');
      session.close();
    });
  }
});

const modes = {
  // Sends and reads at once.
  async echo() {
    const [sent, received] = await Promise.all([sendRandom(stream, options.size), sum(stream)]);
    console.log(`sent ${sent}`);
    console.log(`received ${received}`);
  },
  // Ends first, and still hears the answer.
  async 'client-first'() {
    stream.end('hello');
    console.log(`heard ${await text(stream)}`);
  },
  // Hears the end, and still speaks.
  async 'server-first'() {
    console.log(`heard ${await text(stream)}`);
    await new Promise((resolve) => stream.end('after your end', resolve));
  },
};
