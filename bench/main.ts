import { parseArgs } from 'node:util'
import { benchEncrypt } from './encrypt.ts'
import { benchHsm } from './hsm.ts'
import { benchRebuild, benchVerify } from './verify.ts'

/**
 * Benchmarks by name: `npm run -s bench -- NAME [--in-flight N] [--seconds S] [--json]`. With `--json` the last line is
 * one JSON object. Times are given beside a floor measured in the same run, since machines differ.
 */
const BENCHES: Readonly<Record<string, (options: BenchOptions) => Promise<unknown>>> = {
  'encrypt-nats-msgpack': benchEncrypt,
  hsm: benchHsm,
  verify: benchVerify,
  rebuild: benchRebuild,
}

export interface BenchOptions {
  readonly inFlight: number
  readonly seconds: number
  readonly isJson: boolean
}

const main = async (): Promise<number> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'in-flight': { type: 'string', default: '64' },
      seconds: { type: 'string', default: '5' },
      json: { type: 'boolean', default: false },
    },
  })
  const bench = BENCHES[positionals[0] ?? '']
  if (bench === undefined) {
    process.stderr.write(
      `usage: npm run -s bench -- ${Object.keys(BENCHES).join('|')} [--in-flight N] [--seconds S] [--json]\n`,
    )
    return 2
  }
  await bench({ inFlight: Number(values['in-flight']), seconds: Number(values.seconds), isJson: values.json })
  return 0
}

process.exitCode = await main()
