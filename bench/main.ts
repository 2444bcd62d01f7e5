import { parseArgs } from 'node:util'
import { benchEncrypt } from './encrypt.ts'
import { benchHsm } from './hsm.ts'
import { benchStarts } from './starts.ts'
import { benchRebuild, benchVerify } from './verify.ts'

/**
 * Benchmarks by name: `npm run -s bench -- NAME [--in-flight N] [--seconds S] [--commits N] [--json]`. With `--json` the last line is
 * one JSON object. Times are given beside a floor measured in the same run, since machines differ.
 */
const BENCHES: Readonly<Record<string, (options: BenchOptions) => Promise<unknown>>> = {
  'encrypt-nats-msgpack': benchEncrypt,
  hsm: benchHsm,
  verify: benchVerify,
  rebuild: benchRebuild,
  start: ({ commits }) => benchStarts(commits),
}

export interface BenchOptions {
  readonly inFlight: number
  readonly seconds: number
  readonly isJson: boolean
  /** Of the ledger that is started on. */
  readonly commits: number
}

const main = async (): Promise<number> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'in-flight': { type: 'string', default: '64' },
      seconds: { type: 'string', default: '5' },
      commits: { type: 'string', default: '1000000' },
      json: { type: 'boolean', default: false },
    },
  })
  const bench = BENCHES[positionals[0] ?? '']
  if (bench === undefined) {
    process.stderr.write(
      `usage: npm run -s bench -- ${Object.keys(BENCHES).join('|')} [--in-flight N] [--seconds S] [--commits N] [--json]\n`,
    )
    return 2
  }
  const [inFlight, seconds, commits] = [values['in-flight'], values.seconds, values.commits].map(Number)
  await bench({ inFlight: inFlight ?? 0, seconds: seconds ?? 0, commits: commits ?? 0, isJson: values.json })
  return 0
}

process.exitCode = await main()
