// The operations of test_client_matrix.py with ssh2-sftp-client: node matrix.mjs MODULES PORT USER FIRST|LAST LOCAL REMOTE
import { createRequire } from "node:module";

const [modules, port, username, phase, local, dir] = process.argv.slice(2);
const Client = createRequire(modules + "/")("ssh2-sftp-client");
const sftp = new Client();
await sftp.connect({ host: "127.0.0.1", port: Number(port), username, password: process.env.PASSWORD });
if (phase === "FIRST") {
  await sftp.mkdir(dir);
  await sftp.fastPut(`${local}/up`, `${dir}/a`);
  await sftp.posixRename(`${dir}/a`, `${dir}/b`);
  await sftp.put(`${local}/head`, `${dir}/r`);
  await sftp.append((await import("node:fs")).readFileSync(`${local}/tail`), `${dir}/r`);
  await sftp.chmod(`${dir}/b`, 0o640);
  await sftp.fastGet(`${dir}/b`, `${local}/down`);
  for (const each of await sftp.list(dir)) console.log(each.name);
} else {
  await sftp.delete(`${dir}/b`);
  await sftp.delete(`${dir}/r`);
  await sftp.rmdir(dir);
}
await sftp.end();
