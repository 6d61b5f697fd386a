// A server for the examples: answers every connection with a line, and ends after the first.
const server = require('net').createServer((socket) => {
  socket.setNoDelay(true);
  socket.end('hello\n');
  server.close();
});
server.listen(Number(process.argv[2] || 0), '127.0.0.1', () => {
  console.log(server.address().port);
});
