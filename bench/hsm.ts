import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { Sensitive } from '../src/core/sensitive.ts'
import { createHsm } from '../src/hsm/createHsm.ts'
import { BACKEND, calm, HEADER, makeKey, ORIGIN, unwrap } from '../test/fixtures/hsmRequests.ts'
import { createSoftHsm } from '../test/fixtures/softhsm.ts'

/**
 * Encrypts through the HSM port alone, without ledger and transport: what the layers above can reach at most.
 * `--placement inline|process --processes N --in-flight N --seconds N --bytes N`; the last line is JSON.
 */
const { values } = parseArgs({
  options: {
    placement: { type: 'string', default: 'process' },
    processes: { type: 'string', default: '1' },
    'in-flight': { type: 'string', default: '64' },
    seconds: { type: 'string', default: '5' },
    bytes: { type: 'string', default: '1024' },
    json: { type: 'boolean', default: false },
  },
})
const inFlight = Number(values['in-flight'])
const placement = values.placement === 'inline' ? 'inline' : 'process'

await using token = await createSoftHsm()
const hsm = await createHsm({
  origin: ORIGIN,
  backends: [{ id: BACKEND, libPath: token.libPath, tokenLabel: token.tokenLabel, pinFile: token.pinFile }],
  placement,
  processesPerBackend: Number(values.processes),
  telemetry: { log: () => undefined },
})
unwrap(await hsm.createGenesis(BACKEND, calm))
const key = await makeKey(hsm, 'AES_256')
const context = Buffer.from('bench')
const bytes = randomBytes(Number(values.bytes))

const measure = async (
  ms: number,
): Promise<{ readonly count: number; readonly times: number[]; readonly ms: number }> => {
  const times: number[] = []
  const begun = performance.now()
  const loop = async (): Promise<void> => {
    while (performance.now() - begun < ms) {
      const start = performance.now()
      using plaintext = new Sensitive(Buffer.from(bytes))
      const signal = new AbortController().signal
      unwrap(await hsm.execute({ kind: 'encrypt', backend: BACKEND, key, header: HEADER, context, plaintext }, signal))
      times.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, loop))
  return { count: times.length, times, ms: performance.now() - begun }
}

await measure(1_000)
const run = await measure(Number(values.seconds) * 1_000)
const sorted = run.times.sort((a, b) => a - b)
const at = (share: number): number => Number((sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(3))
await hsm.close()
const { memory, name } = { memory: Math.round(process.memoryUsage().rss / 2 ** 20), name: 'hsm-encrypt' }
console.log(
  JSON.stringify({
    name,
    placement,
    processes: placement === 'inline' ? 0 : Number(values.processes),
    in_flight: inFlight,
    bytes: bytes.length,
    ops_per_s: Math.round((run.count / run.ms) * 1_000),
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    rss_mib: memory,
  }),
)
