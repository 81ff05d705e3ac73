// The commands of tests/attack/tuf_client.c over tuf-js, unmodified: node client.mjs --metadata-dir DIR
// ... init ROOT | refresh | download.  MODULES names the directory with node_modules.
import { copyFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { Updater } = createRequire(join(process.env.MODULES, 'x.js'))('tuf-js');
const args = process.argv.slice(2);
const options = {};
while (args[0]?.startsWith('--')) options[args.shift().slice(2)] = args.shift();
const [command, operand] = args;
const dir = options['metadata-dir'];

function updater() {
  return new Updater({
    metadataDir: dir,
    metadataBaseUrl: options['metadata-url'],
    targetDir: options['target-dir'] ?? dir,
    targetBaseUrl: options['target-base-url'] ?? options['metadata-url'],
    config: { fetchTimeout: Number(options['timeout-ms'] ?? 30000), fetchRetry: 0 },
  });
}

async function run() {
  if (command === 'init') {
    mkdirSync(dir, { recursive: true });
    copyFileSync(operand, join(dir, 'root.json'));
    return;
  }
  const client = updater();
  await client.refresh();
  if (command !== 'download') return;
  const info = await client.getTargetInfo(options['target-name']);
  if (!info) throw new Error('not listed');
  await client.downloadTarget(info);
}

run().then(
  () => process.exit(0),
  (error) => {
    console.error(`tuf-js: ${error.name}: ${error.message}`);
    process.exit(1);
  },
);
