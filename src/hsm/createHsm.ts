import { LIMITS } from '../../schemas/limits.ts'
import type { Instruction, OutputOf } from '../core/instruction.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { type Backend, createBackend } from './backend.ts'
import type { Deadlines } from './fleet.ts'
import type { HostConfig } from './host.ts'
import { type HostOutputs, type HostRequest, type HostRequestKind, isOutputOf } from './hostRequest.ts'
import { createInlineWorker } from './inlineWorker.ts'
import { createLibraries } from './library.ts'
import { checkPinSource } from './pin.ts'
import { createProcessWorker } from './processWorker.ts'
import type { HsmWorker } from './worker.ts'

export interface HsmBackendConfig {
  readonly id: string
  readonly libPath: string
  readonly tokenLabel: string
  /** A regular file, or `/dev/fd/N` of one; it is read again at each login. */
  readonly pinFile: string
}

export interface HsmOptions {
  /** The ledger's name; labels and sealed handles are bound to it. */
  readonly origin: string
  readonly backends: readonly HsmBackendConfig[]
  /** `process`: children hold library and PIN. `inline`: this process does. */
  readonly placement?: 'process' | 'inline'
  /** Children for each backend; each can use a core. */
  readonly processesPerBackend?: number
  readonly deadlines?: Partial<Deadlines>
  readonly telemetry: Pick<Telemetry, 'log'>
}

/**
 * The HSM port over PKCS#11. Answers when every backend was tried once; one that is away answers HSM_UNAVAILABLE until
 * it is back, which needs no restart. Throws only for a configuration that can never work.
 */
export const createHsm = async (options: HsmOptions): Promise<Hsm> => {
  const backends = createBackends(options)
  await Promise.all([...backends.values()].map((backend) => backend.start()))

  const ask = async <K extends HostRequestKind>(
    id: string,
    request: HostRequest & { readonly kind: K },
    signal: AbortSignal,
  ): Promise<Result<HostOutputs[K]>> => {
    const backend = backends.get(id)
    if (backend === undefined) return fail('HSM_UNAVAILABLE', 'no HSM backend of this id is configured')
    const reply = await backend.run(request, signal)
    if (!reply.ok) return fail(reply.code, reply.message)
    must(isOutputOf<K>(request.kind, reply.value), 'an HSM host answered with another shape than was asked for')
    return ok(reply.value)
  }

  return {
    async execute<I extends Instruction>(instruction: I, signal: AbortSignal): Promise<Result<OutputOf<I>>> {
      const done = await ask<I['kind']>(instruction.backend, instruction, signal)
      if (done.ok && instruction.kind === 'destroyKey') {
        const { lid, version } = instruction.key
        // Session copies outlive their token object, in every worker that made one.
        await backends.get(instruction.backend)?.broadcast({ kind: 'forget', lid, version })
      }
      return done
    },
    status: () => [...backends.values()].map((backend) => backend.status()),
    supports: (id, spec) => backends.get(id)?.supports(spec) ?? false,
    wrapping: (id) => backends.get(id)?.wrapping(),
    inventory: (id, signal) => ask(id, { kind: 'inventory' }, signal),
    async findMissing(id, keys, signal) {
      const missing = await ask(id, { kind: 'findMissing', keys }, signal)
      if (!missing.ok) return missing
      const positions = new Set(missing.value)
      return ok(keys.filter((_, index) => positions.has(index)))
    },
    async destroyObjects(id, ckaIdsHex, signal) {
      const destroyed = await ask(id, { kind: 'destroyObjects', ckaIdsHex }, signal)
      await backends.get(id)?.broadcast({ kind: 'forget' })
      return destroyed
    },
    async createGenesis(id, signal) {
      const genesis = await ask(id, { kind: 'createGenesis' }, signal)
      if (genesis.ok) await backends.get(id)?.broadcast({ kind: 'forget' })
      return genesis
    },
    genesisState: (id, signal) => ask(id, { kind: 'genesisState' }, signal),
    signAsRoot: (id, message, signal) => ask(id, { kind: 'signAsRoot', message }, signal),
    unsealContextKey: (id, sealed, signal) => ask(id, { kind: 'unsealContextKey', sealed }, signal),
    async close() {
      await Promise.all([...backends.values()].map((backend) => backend.stop()))
    },
  }
}

const createBackends = (options: HsmOptions): ReadonlyMap<string, Backend> => {
  const count = options.placement === 'inline' ? 1 : (options.processesPerBackend ?? 1)
  must(count >= 1 && count <= LIMITS.hsmProcessesMax, 'processesPerBackend is out of its bounds')
  const libraries = createLibraries()
  const createWorker = (config: HostConfig): HsmWorker =>
    options.placement === 'inline' ? createInlineWorker(config, libraries) : createProcessWorker(config)
  return new Map(
    options.backends.map(({ id, libPath, tokenLabel, pinFile }) => {
      checkPinSource(pinFile)
      const config: HostConfig = { origin: options.origin, backend: id, libPath, tokenLabel, pinFile }
      const workers = Array.from({ length: count }, () => createWorker(config))
      const deadlines: Deadlines = {
        callMs: options.deadlines?.callMs ?? LIMITS.hsmCallDeadlineMs,
        slowCallMs: options.deadlines?.slowCallMs ?? LIMITS.hsmSlowCallDeadlineMs,
      }
      return [id, createBackend({ id, pinFile, workers, deadlines, telemetry: options.telemetry })]
    }),
  )
}
