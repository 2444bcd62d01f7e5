import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OPERATION_NAMES, toContract } from '../../../schemas/registry.ts'
import { toExampleLine } from '../../../src/cli/example.ts'
import { toVerbName } from '../../../src/cli/flags.ts'
import { runCli, type ServiceCommands } from '../../../src/cli/program.ts'
import { renderReply } from '../../../src/cli/render.ts'
import { readInput, writeOutput } from '../../../src/cli/terminal.ts'
import { formatExportLine } from '../../../src/verify/exportLine.ts'
import { formatVkey } from '../../../src/verify/vkey.ts'
import { createSampleHistory, type History } from '../../fixtures/ledgerHistory.ts'

let dir: string
let history: History
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kms-cli-'))
  history = createSampleHistory()
  await writeFile(join(dir, 'root.vkey'), `${formatVkey(history.pin)}\n`)
  await writeFile(
    join(dir, 'export.jsonl'),
    history.messages.map((message) => `${formatExportLine(message)}\n`).join(''),
  )
})
afterAll(() => rm(dir, { recursive: true, force: true }))

const services: ServiceCommands = {
  init: async () => 0,
  serve: async (_terminal, { takeOver, trustOnFirstUse }) => (takeOver && !trustOnFirstUse ? 7 : 8),
  sweep: async () => 0,
  recover: async () => 0,
  rotateRoot: async (_terminal, { yes }) => (yes ? 5 : 6),
  destroyFormerRoots: async (_terminal, { yes }) => (yes ? 3 : 4),
  roll: async (_terminal, { archive, yes }) => (yes && archive === 'A' ? 9 : 10),
  dropStream: async (_terminal, { archive, yes }) => (yes && archive === 'A' ? 11 : 12),
  restore: async (_terminal, { archive, yes }) => (yes && archive === 'A' ? 13 : 14),
}

/** Runs a command line in this process, against a data directory where nothing runs. */
const run = async (args: readonly string[], stdin: string | Uint8Array = '') => {
  const stdout = new PassThrough()
  const stderr = new PassThrough()
  const terminal = {
    stdin: Readable.from([Buffer.from(stdin)]),
    stdout,
    stderr,
    showsProgress: false,
    env: { KMS_DATA_DIR: join(dir, 'data'), KMS_NATS_PORT: '1', KMS_HTTP_PORT: '1' },
    root: dir,
  }
  const code = await runCli(args, terminal, services)
  return { code, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') }
}

describe('the command line', () => {
  test('help lists a verb for each operation, and each verb shows its example', async () => {
    const { code, stdout } = await run(['--help'])
    expect(code).toBe(0)
    for (const name of OPERATION_NAMES) {
      const contract = toContract(name)
      expect(stdout).toContain(toVerbName(contract))
      const help = await run([toVerbName(contract), '--help'])
      expect(help.code).toBe(0)
      expect(help.stdout).toContain(`Example:\n  ${toExampleLine(contract)}\n`)
      expect(help.stdout.includes('--idempotency-key')).toBe(contract.idempotent)
    }
  })

  test.each<[string, readonly string[], string]>([
    ['no command', [], 'Usage: chatelaine'],
    ['an unknown command', ['encrpyt'], "unknown command 'encrpyt'"],
    ['an unknown flag', ['list-keys', '--frist'], "unknown option '--frist'"],
    ['a missing key', ['describe-key'], 'a key is missing'],
    ['a key given twice', ['describe-key', 'alias/a', '--key-id', 'alias/b'], 'given twice'],
    ['a name that is not a choice', ['create-key', '--key-spec', 'AES_512'], 'Allowed choices are AES_256'],
    [
      'two spellings of the same bytes',
      ['encrypt', 'k', '--plaintext', 'a', '--plaintext-file', '-'],
      'cannot be used',
    ],
    ['a timeout that is none', ['list-keys', '--timeout', '0'], '--timeout must be seconds'],
    ['both transports', ['list-keys', '--nats', 'nats://127.0.0.1:1', '--url', 'http://127.0.0.1:1'], 'cannot be used'],
    ['an address that is none', ['list-keys', '--url', 'localhost'], '--url must be http://host:port'],
    ['a user without password', ['list-keys', '--user', 'app2'], '--user goes with --password-file'],
    ['another machine without a token for it', ['list-keys', '--url', 'https://kms.example'], '--token-file'],
  ])('%s is exit code 2', async (_name, args, words) => {
    const { code, stderr, stdout } = await run(args)
    expect(stderr).toContain(words)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  test.each<[string, readonly string[]]>([
    ['over NATS', ['list-keys']],
    ['over REST', ['list-keys', '--url', 'http://127.0.0.1:1']],
    ['for the ledger', ['ledger', 'export']],
  ])('nobody answering is exit code 3 and says what to do, %s', async (_name, args) => {
    const { code, stderr } = await run(args)
    expect({ code, stderr }).toEqual({
      code: 3,
      stderr: expect.stringMatching(/^chatelaine: no running service found at (nats|http):\/\/127\.0\.0\.1:1: /),
    })
  })

  test('the address and not the token is what is wrong where nobody listens', async () => {
    const token = join(dir, 'token')
    await writeFile(token, 'a token\n')
    for (const target of [
      ['--url', 'http://127.0.0.1:1'],
      ['--nats', 'nats://127.0.0.1:1'],
    ]) {
      const { code, stderr } = await run(['list-keys', ...target, '--token-file', token])
      expect(code).toBe(3)
      expect(stderr).toMatch(/^chatelaine: no running service found at/)
    }
  })

  test('a fault is JSON on stderr with --json', async () => {
    const { code, stderr } = await run(['list-keys', '--json'])
    expect(code).toBe(3)
    expect(JSON.parse(stderr)).toMatchObject({ error: { message: expect.stringContaining('no running service') } })
  })

  test('the service commands get their flags and give their own exit code', async () => {
    expect((await run(['serve', '--take-over'])).code).toBe(7)
    expect((await run(['ledger', 'rotate-root', '--yes'])).code).toBe(5)
    expect((await run(['ledger', 'rotate-root'])).code).toBe(6)
    expect((await run(['ledger', 'destroy-former-roots', '--yes'])).code).toBe(3)
    expect((await run(['ledger', 'destroy-former-roots'])).code).toBe(4)
    for (const [index, name] of ['roll', 'drop-stream', 'restore'].entries()) {
      expect((await run(['ledger', name, '--archive', 'A', '--yes'])).code).toBe(9 + 2 * index)
      expect((await run(['ledger', name, '--archive', 'A'])).code).toBe(10 + 2 * index)
      expect((await run(['ledger', name])).code).toBe(2)
    }
  })
})

describe('ledger verify from a file', () => {
  const verify = (...more: readonly string[]) =>
    run(['ledger', 'verify', '--file', join(dir, 'export.jsonl'), '--root-key', join(dir, 'root.vkey'), ...more])
  const head = () => {
    const state = history.state()
    return `${state.seq}:${Buffer.from(state.hash).toString('hex')}`
  }

  test('exit code 0 with an anchor at the end, given as flag, head file or receipt', async () => {
    expect(await verify('--anchor', head())).toMatchObject({ code: 0, stdout: expect.stringContaining('anchored by') })
    const [size, hash] = head().split(':')
    const headFile = join(dir, 'head.json')
    await writeFile(headFile, JSON.stringify({ v: 1, origin: history.pin.origin, size: Number(size), hash }))
    expect((await verify('--head-file', headFile)).code).toBe(0)
    const receipt = join(dir, 'receipt.json')
    await writeFile(receipt, JSON.stringify({ seq: Number(size), index: 0, hash }))
    expect((await verify('--receipt', receipt, '--fast')).code).toBe(0)
  })

  test('exit code 1 without one', async () => {
    const { code, stdout } = await verify()
    expect(code).toBe(1)
    expect(stdout).toMatch(/^unanchored tail 1\.\.\d+$/m)
  })

  test('exit code 2 when the ledger is shorter than an anchor, with findings in the JSON report', async () => {
    const { code, stdout } = await verify('--anchor', `1000:${'0'.repeat(64)}`, '--json')
    expect(code).toBe(2)
    expect(JSON.parse(stdout)).toMatchObject({
      verdict: 'fail',
      exit_code: 2,
      findings: [{ reason: expect.stringContaining('shorter') }],
    })
  })

  test.each<[string, () => Promise<{ code: number; stderr: string }>, string]>([
    [
      'a file that is not there',
      () => run(['ledger', 'verify', '--file', 'none', '--root-key', join(dir, 'root.vkey')]),
      'none',
    ],
    ['no root key', () => run(['ledger', 'verify', '--file', 'x']), '--root-key'],
    ['an anchor that is none', () => verify('--anchor', 'x'), '--anchor'],
    ['another origin', () => verify('--origin', 'other/0123456789abcdef'), '--origin'],
    ['an unknown flag', () => verify('--fats'), 'unknown option'],
  ])('exit code 3, not 2, for %s', async (_name, ask, words) => {
    const { code, stderr } = await ask()
    expect(stderr).toContain(words)
    expect(code).toBe(3)
  })

  test('an export comes by standard input too', async () => {
    const bytes = await readFile(join(dir, 'export.jsonl'))
    const args = ['ledger', 'verify', '--file', '-', '--root-key', formatVkey(history.pin), '--anchor', head()]
    expect((await run(args, bytes)).code).toBe(0)
  })
})

describe('output', () => {
  test('a reply reads as lines; bytes are text where they are, else base64', () => {
    const reply = {
      plaintext: new Uint8Array(Buffer.from('hello')),
      blob: new Uint8Array([0, 255]),
      key: { user_tags: [{ key: 'a', value: 'b' }], aliases: [], note: '' },
      pem: '-----BEGIN\nAAA\n',
    }
    expect(renderReply(reply).split('\n')).toEqual([
      'plaintext: hello',
      'blob (base64): AP8=',
      'key:',
      '  user_tags:',
      '    - key: a',
      '      value: b',
      '  aliases: none',
      '  note: ',
      'pem:',
      '  -----BEGIN',
      '  AAA',
      '',
    ])
  })

  test('no stored text can drive a terminal', () => {
    const hostile = '\u001b[2Jgone\u0007'
    const shown = renderReply({ description: hostile, plaintext: new Uint8Array(Buffer.from(hostile)), [hostile]: 1 })
    expect(shown).not.toContain('\u001b')
    expect(shown).not.toContain('\u0007')
  })

  test('a file for bytes is readable by its owner only, also one that was there', async () => {
    const path = join(dir, 'secret.bin')
    await writeFile(path, 'older and longer', { mode: 0o644 })
    const written = await writeOutput({ stdout: new PassThrough() }, path, new Uint8Array([1, 2]))
    expect(written.ok).toBe(true)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect([...(await readFile(path))]).toEqual([1, 2])
  })

  test('input beyond the bound is refused, not cut', async () => {
    const stdin = Readable.from([Buffer.alloc(5), Buffer.alloc(5)])
    expect(await readInput({ stdin }, '-', 9)).toEqual({ ok: false, error: 'more than 9 bytes' })
  })
})
