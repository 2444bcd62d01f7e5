import { randomBytes } from 'node:crypto'
import { Sensitive } from '../src/core/sensitive.ts'
import { createHsm, type HsmOptions } from '../src/hsm/createHsm.ts'
import { BACKEND, calm, HEADER, makeKey, ORIGIN, unwrap } from '../test/fixtures/hsmRequests.ts'
import { createSoftHsm } from '../test/fixtures/softhsm.ts'

const PLACEMENTS: readonly (readonly [string, Pick<HsmOptions, 'placement' | 'processesPerBackend'>])[] = [
  ['inline', { placement: 'inline' }],
  ['process_1', { placement: 'process', processesPerBackend: 1 }],
  ['process_2', { placement: 'process', processesPerBackend: 2 }],
]
const PLAINTEXT_BYTES = 1024
const warmUpMs = 1_000

interface Measured {
  readonly ops_per_s: number
  readonly p50_ms: number
  readonly p99_ms: number
  /** Of the service's process alone; unlike the others it holds on a busy machine too. */
  readonly cpu_us_per_op: number
}

/** AES-GCM of 1 KiB through the HSM port alone, by placement: what the layers above can reach at most. */
export const benchHsm = async (options: { readonly inFlight: number; readonly seconds: number }): Promise<void> => {
  const results: Record<string, Measured> = {}
  await using softHsm = await createSoftHsm({ tokenLabels: PLACEMENTS.map(([name]) => name) })
  for (const [name, placement] of PLACEMENTS) {
    const { libPath, pinFile } = softHsm
    const backends = [{ id: BACKEND, libPath, tokenLabel: name, pinFile }]
    const hsm = await createHsm({ origin: ORIGIN, backends, telemetry: { log: () => undefined }, ...placement })
    unwrap(await hsm.createGenesis(BACKEND, calm))
    const key = await makeKey(hsm, 'AES_256')
    const bytes = randomBytes(PLAINTEXT_BYTES)
    const encrypt = async (): Promise<void> => {
      using plaintext = new Sensitive(Buffer.from(bytes))
      const signal = new AbortController().signal
      const request = { kind: 'encrypt', backend: BACKEND, key, header: HEADER, context: HEADER, plaintext } as const
      unwrap(await hsm.execute(request, signal))
    }
    await measure(encrypt, options.inFlight, warmUpMs)
    results[name] = await measure(encrypt, options.inFlight, options.seconds * 1_000)
    console.log(name.padEnd(12), JSON.stringify(results[name]))
    await hsm.close()
  }
  console.log(JSON.stringify({ bench: 'hsm', in_flight: options.inFlight, bytes: PLAINTEXT_BYTES, ...results }))
}

const measure = async (work: () => Promise<void>, inFlight: number, ms: number): Promise<Measured> => {
  const times: number[] = []
  const cpuBefore = process.cpuUsage()
  const begun = performance.now()
  const loop = async (): Promise<void> => {
    while (performance.now() - begun < ms) {
      const start = performance.now()
      await work()
      times.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, loop))
  const elapsedMs = performance.now() - begun
  const cpu = process.cpuUsage(cpuBefore)
  times.sort((a, b) => a - b)
  const at = (share: number): number => Number((times[Math.floor(times.length * share)] ?? 0).toFixed(3))
  return {
    ops_per_s: Math.round((times.length / elapsedMs) * 1_000),
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    cpu_us_per_op: Math.round((cpu.user + cpu.system) / times.length),
  }
}
