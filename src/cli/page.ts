import type { Contract } from '../../schemas/contract.ts'
import { OPERATION_NAMES, toContract } from '../../schemas/registry.ts'
import { toExampleLine, toOutName } from './example.ts'
import { type Flag, listReplyBytes, toFlags, toVerbName } from './flags.ts'

/** `docs/CLI.md`: every verb with its flags and example, and what all of them share. */
export const toCliPage = (): string => {
  const contracts = OPERATION_NAMES.map(toContract)
  const rows = contracts.map(
    (contract) => `| [\`${toVerbName(contract)}\`](#${toVerbName(contract)}) | ${contract.summary} |`,
  )
  return `${[INTRO, ['| verb | what it does |', '| --- | --- |', ...rows].join('\n'), SHARED, LEDGER, ...contracts.map(toSection)].join('\n\n')}\n`
}

const INTRO = `# Command line

Generated from the contracts in \`schemas/operations/\` by \`npm run generate\`; do not edit.

\`./bin/chatelaine\` has a verb for each operation, and commands for the ledger and the service. Run \`npm start\` once first:
it builds what the command needs. Every \`--help\` ends in an example; the tests run each of them.`

const SHARED = `## What every verb shares

**Which service.** Without flags a verb asks the dev profile that \`npm start\` runs from this clone, over NATS with
MessagePack; \`KMS_DATA_DIR\`, \`KMS_NATS_PORT\` and \`KMS_HTTP_PORT\` name another one, \`KMS_CONFIG\` the one of a configuration
file (over REST). \`--nats nats://host:port\` with \`--user\` and \`--password-file\`, or \`--url https://host:port\`, ask any other;
the token and password of this machine are sent to no other machine, so \`--token-file\` is needed there. For REST behind a
certificate authority of your own set \`NODE_EXTRA_CA_CERTS\`.

**Keys** are ids (\`lid_…\`) or aliases, given as the first argument or as \`--key-id\`.

**Bytes** come from a file (\`--plaintext-file secret.bin\`, \`-\` is standard input), as text (\`--plaintext hello\`) or as base64
(\`--plaintext-base64 aGVsbG8=\`). Secrets belong into a file or a pipe: arguments are seen by every user of a machine.
\`--out\` writes the bytes of a reply to a file of mode 0600, or with \`-\` to standard output and nothing else there.

**Maps** are repeated: \`--encryption-context order=17 --encryption-context region=eu\`, \`--tags stage=production\`.
\`--attributes\` takes the same, or one JSON object for values that are not text.

**Answers** are lines for people, or with \`--json\` the reply as on REST, bytes in base64. \`--timeout\` bounds the wait.
\`--idempotency-key\`, where a verb has it, makes it safe to ask again.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | the service refused: code and message on standard error, with \`--json\` the error body |
| 2 | the command line is wrong |
| 3 | nobody answers, or a file cannot be read or written |`

const LEDGER = `## The ledger

\`\`\`sh
chatelaine ledger verify                            # all its streams, read as the NATS user auditor
chatelaine ledger export --out ledger.jsonl         # the exact stored bytes, as JSON lines
chatelaine ledger verify --file ledger.jsonl --root-key ledger-root.vkey --anchor 1042:5f1c…
chatelaine ledger archive /srv/archive              # segments that are never written again
chatelaine ledger verify --file /srv/archive --resume /secure/verified.json
\`\`\`

\`ledger verify\` trusts the root key (\`$KMS_DATA_DIR/ledger-root.vkey\`, or \`--root-key\` with a vkey or a file that holds one;
\`--origin\` says which ledger it must be of) and the anchors: the head file (\`$KMS_DATA_DIR/head.json\`, or \`--head-file\`),
\`--anchor size:hash\` and \`--receipt file\`, which takes the \`receipt\` of any reply. It asks neither the service nor the HSM. An
export is a copy of some moment, so no head file counts for it unless it is named. \`--fast\` leaves out most signatures of
ordinary commits. [VERIFYING.md](VERIFYING.md) says what each source and anchor is worth. The head file follows the ledger within a second: right after a request the last commit may be unanchored.

| exit code | meaning |
| --- | --- |
| 0 | every commit is good, and an anchor vouches for the last one |
| 1 | every commit is good, but no anchor vouches for the tail |
| 2 | FAIL: the report names each bad sequence |
| 3 | it could not run |

An export holds identity tags: it is for auditors, and its file has mode 0600.

\`ledger roll\`, \`ledger restore\`, \`ledger recover\`, \`ledger rotate-root\` and \`ledger destroy-former-roots\` need the HSM and no running
service, and \`ledger drop-stream\` deletes; none of them writes into the ledger, ends or deletes anything without
\`--yes\`; [RUNBOOK.md](RUNBOOK.md) says when.

## The service

\`chatelaine init --name orders\` makes the ledger and its root key for the configuration in \`KMS_CONFIG\`, once.
\`chatelaine serve\` runs the service until SIGINT or SIGTERM; \`--take-over\` and \`--trust-on-first-use\` are for operators who
have read [LEDGER.md](LEDGER.md). \`chatelaine sweep\` lists HSM objects of this ledger that it does not name, and with \`--destroy\`
removes them; run it while no service writes.`

const toSection = (contract: Contract): string =>
  [
    `## ${toVerbName(contract)}`,
    `${contract.summary}.`,
    `\`\`\`sh\n${toExampleLine(contract)}\n\`\`\``,
    ...toTable([...toFlags(contract).map(toRow), ...toOutRows(contract)]),
  ].join('\n\n')

const toTable = (rows: readonly string[]): readonly string[] =>
  rows.length === 0 ? [] : [['| flag | | |', '| --- | --- | --- |', ...rows].join('\n')]

const toRow = (flag: Flag): string => {
  const name = toNames(flag)
  const choices = flag.choices.map((choice) => `\`${choice}\``).join(', ')
  const meaning = [choices, flag.description].filter((part) => part !== '').join('. ')
  return `| ${name} | ${flag.isRequired ? 'needed' : ''} | ${meaning} |`
}

const toNames = ({ field, name, kind }: Flag): string => {
  if (field === 'key_id') return '`<key-id>` or `--key-id`'
  if (kind === 'bytes') return `\`--${name}-file\` file, \`--${name}\` text or \`--${name}-base64\` base64`
  if (kind === 'json') return `\`--${name}-file\` file or \`--${name}\` json`
  return `\`--${name}\`${VALUES[kind]}`
}

const VALUES = {
  text: ' text',
  texts: ' text',
  integer: ' number',
  boolean: '',
  choice: ' name',
  pairs: ' key=value',
  tags: ' key=value',
  attributes: ' key=value',
} as const

const toOutRows = (contract: Contract): readonly string[] => {
  const fields = listReplyBytes(contract)
  return fields.map(
    (field) => `| \`--${toOutName(field, fields.length)}\` file | | writes \`${field}\` there instead |`,
  )
}
