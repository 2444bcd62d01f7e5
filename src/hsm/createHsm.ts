import { LIMITS } from '../../schemas/limits.ts'
import type { Instruction, OutputOf } from '../core/instruction.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { createBackend } from './backend.ts'
import { type Backends, type HsmBackendConfig, openBackends, type RuntimeRules } from './backends.ts'
import type { Deadlines } from './fleet.ts'
import type { HostConfig } from './host.ts'
import { type HostOutputs, type HostRequest, type HostRequestKind, isOutputOf } from './hostRequest.ts'
import { createProcessWorker } from './processWorker.ts'
import type { HsmWorker } from './worker.ts'

export interface HsmOptions {
  /** The ledger's name; labels and sealed handles are bound to it. */
  readonly origin: string
  readonly backends: readonly HsmBackendConfig[]
  /** The one backend whose first try is waited for, however long; the others get a moment. All of them if absent. */
  readonly awaited?: string
  /** What may be opened at run time; nothing if absent. */
  readonly runtime?: RuntimeRules
  /** `process`: children hold library and PIN. `inline`: this process does. */
  readonly placement?: 'process' | 'inline'
  /** Children for each backend; each can use a core. */
  readonly processesPerBackend?: number
  readonly deadlines?: Partial<Deadlines>
  readonly telemetry: Pick<Telemetry, 'log'>
}

/**
 * The HSM port over PKCS#11. Answers when its backends were tried once; one that is away answers HSM_UNAVAILABLE until
 * it is back, which needs no restart. Throws only for a configuration that can never work.
 */
export const createHsm = async (options: HsmOptions): Promise<Hsm> => {
  const backends = await createBackends(options)
  const ask = createAsk(backends)

  const createHandleKey = async (id: string, signal: AbortSignal): Promise<Result<'found' | 'made'>> => {
    const made = await ask(id, { kind: 'createHandleKey' }, signal)
    if (made.ok) await backends.get(id)?.broadcast({ kind: 'forget' })
    return made
  }
  const openNew = async (instruction: Of<'openBackend'>, signal: AbortSignal): Promise<Result<unknown>> => {
    const { backend: id, connection } = instruction
    const opened = await backends.open(id, connection)
    if (!opened.ok) return opened
    const made = await createHandleKey(id, signal)
    if (made.ok) return ok({ handleKey: made.value })
    await backends.close(id)
    return made
  }
  const perform = async (instruction: Instruction, signal: AbortSignal): Promise<Result<unknown>> => {
    if (instruction.kind === 'openBackend') return openNew(instruction, signal)
    if (instruction.kind === 'closeBackend') return ok({ closed: await backends.close(instruction.backend) })
    if (instruction.kind === 'reEncrypt' && instruction.sourceBackend !== instruction.backend)
      return reEncryptAcross(ask, instruction, signal)
    const done = await ask(instruction.backend, instruction, signal)
    if (done.ok && instruction.kind === 'destroyKey') {
      const { lid, version } = instruction.key
      // Session copies outlive their token object, in every worker that made one.
      await backends.get(instruction.backend)?.broadcast({ kind: 'forget', lid, version })
    }
    return done
  }

  return {
    async execute<I extends Instruction>(instruction: I, signal: AbortSignal): Promise<Result<OutputOf<I>>> {
      const done = await perform(instruction, signal)
      if (!done.ok) return done
      const { value } = done
      must(isOutputOf<I['kind']>(instruction.kind, value), 'an instruction gave another shape than it promises')
      return ok<HostOutputs[I['kind']]>(value)
    },
    status: () => backends.list().map((backend) => backend.status()),
    supports: (id, spec) => backends.get(id)?.supports(spec) ?? false,
    wrapping: (id) => backends.get(id)?.wrapping(),
    inventory: (id, signal) => ask(id, { kind: 'inventory' }, signal),
    async findIds(id, keys, signal) {
      const found = await ask(id, { kind: 'findIds', keys }, signal)
      return found.ok ? ok(found.value.map((hex) => (hex === '' ? undefined : hex))) : found
    },
    async destroyObjects(id, ckaIdsHex, signal) {
      const destroyed = await ask(id, { kind: 'destroyObjects', ckaIdsHex }, signal)
      await backends.get(id)?.broadcast({ kind: 'forget' })
      return destroyed
    },
    openBackend: backends.open,
    closeBackend: backends.close,
    createHandleKey,
    async createGenesis(id, signal) {
      const genesis = await ask(id, { kind: 'createGenesis' }, signal)
      if (genesis.ok) await backends.get(id)?.broadcast({ kind: 'forget' })
      return genesis
    },
    genesisState: (id, signal) => ask(id, { kind: 'genesisState' }, signal),
    signAsRoot: (id, signed, signal) => ask(id, { kind: 'signAsRoot', ...signed }, signal),
    signCheckpoint: (id, signed, signal) => ask(id, { kind: 'signCheckpoint', ...signed }, signal),
    listRoots: (id, signal) => ask(id, { kind: 'listRoots' }, signal),
    createNextRoot: (id, known, signal) => ask(id, { kind: 'createNextRoot', known }, signal),
    destroyRoot: (id, root, signal) => ask(id, { kind: 'destroyRoot', root }, signal),
    unsealContextKey: (id, sealed, signal) => ask(id, { kind: 'unsealContextKey', sealed }, signal),
    close: backends.stop,
  }
}

type Of<K extends Instruction['kind']> = Extract<Instruction, { readonly kind: K }>

type Ask = ReturnType<typeof createAsk>

const createAsk =
  (backends: Backends) =>
  async <K extends HostRequestKind>(
    id: string,
    request: HostRequest & { readonly kind: K },
    signal: AbortSignal,
  ): Promise<Result<HostOutputs[K]>> => {
    const backend = backends.get(id)
    if (backend === undefined) return fail('HSM_UNAVAILABLE', 'no HSM backend of this id is open')
    const reply = await backend.run(request, signal)
    if (!reply.ok) return fail(reply.code, reply.message)
    must(isOutputOf<K>(request.kind, reply.value), 'an HSM host answered with another shape than was asked for')
    return ok(reply.value)
  }

/** No HSM has both keys, so the plaintext crosses this process, for as long as the two calls take. */
const reEncryptAcross = async (
  ask: Ask,
  instruction: Of<'reEncrypt'>,
  signal: AbortSignal,
): Promise<Result<{ readonly blob: Uint8Array }>> => {
  const { backend, sourceBackend, source, sourceContext, blob, destination, header, context } = instruction
  const opened = await ask(
    sourceBackend,
    { kind: 'decrypt', backend: sourceBackend, key: source, context: sourceContext, blob },
    signal,
  )
  if (!opened.ok) return opened
  using plaintext = opened.value.plaintext
  // Awaited here: the plaintext is zeroed with this block, on every path.
  return await ask(backend, { kind: 'encrypt', backend, key: destination, header, context, plaintext }, signal)
}

/** Only here: a service whose children hold the library loads nothing that could. */
const loadInline = async (): Promise<(config: HostConfig) => HsmWorker> => {
  const [{ createInlineWorker }, { createLibraries }] = await Promise.all([
    import('./inlineWorker.ts'),
    import('./library.ts'),
  ])
  const libraries = createLibraries()
  return (config) => createInlineWorker(config, libraries)
}

const createBackends = async (options: HsmOptions): Promise<Backends> => {
  const { origin, placement, telemetry } = options
  const count = placement === 'inline' ? 1 : (options.processesPerBackend ?? 1)
  must(count >= 1 && count <= LIMITS.hsmProcessesMax, 'processesPerBackend is out of its bounds')
  const createWorker = placement === 'inline' ? await loadInline() : createProcessWorker
  const deadlines: Deadlines = {
    callMs: options.deadlines?.callMs ?? LIMITS.hsmCallDeadlineMs,
    slowCallMs: options.deadlines?.slowCallMs ?? LIMITS.hsmSlowCallDeadlineMs,
  }
  return openBackends({
    configured: options.backends,
    awaited: options.awaited,
    runtime: options.runtime,
    createBackend: ({ id, libPath, tokenLabel, pinFile }, shared) => {
      const config: HostConfig = { origin, backend: id, libPath, tokenLabel, pinFile }
      const workers = Array.from({ length: count }, () => createWorker(config))
      return createBackend({ id, pinFile, workers, deadlines, telemetry, ...shared })
    },
  })
}
