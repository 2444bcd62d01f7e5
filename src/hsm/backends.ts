import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../../schemas/limits.ts'
import type { TokenPlace } from '../core/instruction.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import type { Backend } from './backend.ts'
import { checkPinSource } from './pin.ts'
import { createPinMemory, type PinMemory } from './pinMemory.ts'
import { createClaims, type Shared } from './tokenClaims.ts'
import { waitAtMost } from './waiting.ts'

export interface HsmBackendConfig {
  readonly id: string
  readonly libPath: string
  readonly tokenLabel: string
  /** A regular file, or `/dev/fd/N` of one; it is read again at each login. */
  readonly pinFile: string
}

/** What a caller may have opened at run time. Without a list of libraries: nothing. */
export interface RuntimeRules {
  readonly allowedLibraries: readonly string[]
  readonly pinDir: string
}

/** The backends of one service: those of its configuration, for good, and those that are opened at run time. */
export interface Backends {
  get(id: string): Backend | undefined
  list(): readonly Backend[]
  /** See `Hsm.openBackend`. */
  open(id: string, place: TokenPlace): Promise<Result<void>>
  /** See `Hsm.closeBackend`. */
  close(id: string): Promise<boolean>
  stop(): Promise<void>
}

interface Options {
  /** See `HsmOptions.awaited`. */
  readonly awaited: string | undefined
  readonly configured: readonly HsmBackendConfig[]
  readonly runtime: RuntimeRules | undefined
  createBackend(config: HsmBackendConfig, shared: Shared): Backend
}

interface Opened {
  readonly config: HsmBackendConfig
  readonly backend: Backend
  /** Absent for those of the configuration. */
  readonly runtime?: { readonly place: TokenPlace; readonly started: Promise<void> }
}

/** Opens what is configured, side by side. Throws for a configuration that can never work. */
export const openBackends = async ({ configured, runtime, createBackend, awaited }: Options): Promise<Backends> => {
  const opened = new Map<string, Opened>()
  let isStopped = false
  const claims = createClaims()
  const pins = new Map<string, PinMemory>()

  const create = (config: HsmBackendConfig): Backend => {
    const token = nameToken(config)
    const memory = pins.get(token) ?? createPinMemory()
    pins.set(token, memory)
    return createBackend(config, { pins: memory, claim: (identity) => claims.claim(config.id, identity) })
  }
  const remove = async ({ config, backend }: Opened): Promise<void> => {
    opened.delete(config.id)
    claims.release(config.id)
    await backend.stop()
  }
  const add = async (id: string, place: TokenPlace): Promise<Result<void>> => {
    const found = locate(runtime, place)
    if (!found.ok) return found
    const config = { id, ...found.value }
    const others = [...opened.values()].map((one) => nameToken(one.config))
    if (others.includes(nameToken(config))) return TOKEN_TAKEN
    const backend = create(config)
    const entry = { config, backend, runtime: { place, started: backend.start() } }
    opened.set(id, entry)
    await entry.runtime.started
    if (!claims.wasRefused(id)) return ok(undefined)
    await remove(entry)
    return TOKEN_TAKEN
  }

  for (const config of configured) {
    checkPinSource(config.pinFile)
    must(!opened.has(config.id), 'two backends of the configuration have one id')
    opened.set(config.id, { config, backend: create(config) })
  }
  const started = new Map([...opened].map(([id, { backend }]) => [id, backend.start()]))
  const all = Promise.all(started.values())
  if (awaited === undefined) await all
  else await Promise.all([started.get(awaited), waitAtMost(all, LIMITS.otherBackendsWaitMs)])

  return {
    get: (id) => opened.get(id)?.backend,
    list: () => [...opened.values()].map(({ backend }) => backend),
    async open(id, place) {
      if (isStopped) return fail('HSM_UNAVAILABLE', 'the HSM backends are being closed')
      const known = opened.get(id)
      if (known === undefined) return add(id, place)
      if (known.runtime === undefined || !isSamePlace(known.runtime.place, place))
        return fail('ALREADY_EXISTS', 'connection_id: another token is open under this id')
      await known.runtime.started
      return ok(undefined)
    },
    async close(id) {
      const known = opened.get(id)
      if (known?.runtime === undefined) return false
      await remove(known)
      return true
    },
    async stop() {
      isStopped = true
      await Promise.all([...opened.values()].map(({ backend }) => backend.stop()))
    },
  }
}

const TOKEN_TAKEN = fail('ALREADY_EXISTS', 'pkcs11.token_label: the token is that of another backend')

const isSamePlace = (a: TokenPlace, b: TokenPlace): boolean =>
  a.libPath === b.libPath && a.tokenLabel === b.tokenLabel && a.pinRef === b.pinRef

const PIN_REF = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/**
 * The only way from a caller's words to a file that is loaded or read: a library that the configuration lists, letter for
 * letter, and a plain name in its directory of PINs.
 */
const locate = (rules: RuntimeRules | undefined, place: TokenPlace): Result<Omit<HsmBackendConfig, 'id'>> => {
  if (rules === undefined || !rules.allowedLibraries.includes(place.libPath))
    return fail('INVALID_REQUEST', 'pkcs11.lib_path: is not among the libraries that the configuration allows')
  if (!PIN_REF.test(place.pinRef)) return fail('INVALID_REQUEST', 'pkcs11.pin_ref: must be the name of a file')
  const pinFile = join(rules.pinDir, place.pinRef)
  try {
    checkPinSource(pinFile)
  } catch {
    return fail('INVALID_REQUEST', 'pkcs11.pin_ref: is not a regular file')
  }
  return ok({ libPath: place.libPath, tokenLabel: place.tokenLabel, pinFile })
}

/** What is known of a token before anybody has logged in to it: a wrong PIN is never tried on another backend's. */
const nameToken = ({ libPath, tokenLabel }: HsmBackendConfig): string => {
  try {
    return `${realpathSync(libPath)}\n${tokenLabel}`
  } catch {
    return `${libPath}\n${tokenLabel}`
  }
}
