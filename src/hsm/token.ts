import { SessionFlag, type Slot } from 'graphene-pk11'
import pkcs11, { type Handle, type PKCS11 } from 'pkcs11js'
import { LIMITS } from '../../schemas/limits.ts'
import { must } from '../core/result.ts'
import type { Library } from './library.ts'
import type { MechanismOffer } from './mechanisms.ts'
import { isCkr } from './pkcs11Failure.ts'

/** One cryptographic operation: begun by `init`, done either at once or on a thread of the library's pool. */
export interface TokenCall<T> {
  /** Calls of one class take about the same time; what was measured of them decides where the next one runs. */
  readonly timing: string
  init(session: Handle): void
  now(session: Handle): T
  onThread(session: Handle): Promise<T>
}

export interface Token {
  readonly lib: PKCS11
  /** The session that is logged in, owns the session objects and does no cryptography. */
  readonly keeper: Handle
  /** Maker, model and serial number: the same for every session of one token, whatever the path of the library. */
  readonly identity: string
  readonly offers: readonly MechanismOffer[]
  /** Runs the operation on a session that no other one uses. */
  run<T>(call: TokenCall<T>): T | Promise<T>
  /** Leases a session for work on a thread; always `async`, for key generation. */
  runLong<T>(work: (session: Handle) => Promise<T>): Promise<T>
  close(): void
}

/** A token with this label is not there (yet); the loop of the prober goes on. */
export class TokenAbsentError extends Error {
  override readonly name = 'TokenAbsentError'
}

/** Finds the token, opens its sessions and logs in. Throws PKCS#11 errors and {@link TokenAbsentError}. */
export const openToken = (library: Library, tokenLabel: string, readPin: () => string): Token => {
  const { lib } = library
  const slot = findSlot(library, tokenLabel)
  const flags = SessionFlag.SERIAL_SESSION | SessionFlag.RW_SESSION
  const open = (): Handle => lib.C_OpenSession(slot.handle, flags)
  const keeper = open()
  login(lib, keeper, readPin)
  const lanes = createLanes(lib, open)
  const timings = createTimings()
  return {
    lib,
    keeper,
    identity: readIdentity(slot),
    offers: readOffers(lib, slot),
    run(call) {
      return timings.isLong(call.timing) ? runOnThread(call) : runNow(call)
    },
    runLong: (work) => lanes.lease((session) => library.onThread(() => work(session))),
    close() {
      lanes.close()
      closeSession(lib, keeper)
    },
  }

  function runNow<T>(call: TokenCall<T>): T {
    const begun = performance.now()
    const value = lanes.quick((session) => {
      call.init(session)
      return call.now(session)
    })
    timings.record(call.timing, performance.now() - begun)
    return value
  }

  async function runOnThread<T>(call: TokenCall<T>): Promise<T> {
    return lanes.lease(async (session) => {
      call.init(session)
      const begun = performance.now()
      const value = await library.onThread(() => call.onThread(session))
      // The use of `call` after the wait keeps its buffers alive: the native worker holds bare pointers to them.
      timings.record(call.timing, performance.now() - begun)
      return value
    })
  }
}

const findSlot = (library: Library, tokenLabel: string): Slot => {
  const slots = library.module.getSlots(true)
  for (let i = 0; i < slots.length; i += 1) {
    const slot = slots.items(i)
    if (slot.getToken().label === tokenLabel) return slot
  }
  throw new TokenAbsentError('no token has the configured label')
}

const readIdentity = (slot: Slot): string => {
  const { manufacturerID, model, serialNumber } = slot.getToken()
  return [manufacturerID, model, serialNumber].map((part) => part.trim()).join('/')
}

/** Login belongs to the process, not to a session: another host of it may have logged in already. */
const login = (lib: PKCS11, session: Handle, readPin: () => string): void => {
  try {
    lib.C_Login(session, pkcs11.CKU_USER, readPin())
  } catch (error) {
    if (isCkr(error, pkcs11.CKR_USER_ALREADY_LOGGED_IN)) return
    closeSession(lib, session)
    throw error
  }
}

const readOffers = (lib: PKCS11, slot: Slot): readonly MechanismOffer[] =>
  lib.C_GetMechanismList(slot.handle).map((mechanism) => ({
    mechanism,
    ...lib.C_GetMechanismInfo(slot.handle, mechanism),
  }))

const closeSession = (lib: PKCS11, session: Handle): void => {
  try {
    lib.C_CloseSession(session)
  } catch {
    // It is gone already, or the device is: either way nothing of it is used again.
  }
}

/** The only errors that surely end an operation. After any other the session may be busy for ever, so it is replaced. */
const leavesSessionIdle = (error: unknown): boolean =>
  isCkr(error, pkcs11.CKR_SIGNATURE_INVALID, pkcs11.CKR_SIGNATURE_LEN_RANGE, pkcs11.CKR_ENCRYPTED_DATA_INVALID)

interface Lanes {
  quick<T>(work: (session: Handle) => T): T
  lease<T>(work: (session: Handle) => Promise<T>): Promise<T>
  close(): void
}

/** One session for calls that finish before anything else can run, and a bounded pool for those on threads. */
const createLanes = (lib: PKCS11, open: () => Handle): Lanes => {
  let quickSession = open()
  const idle: Handle[] = []
  const waiting: (() => void)[] = []
  let leased = 0
  return {
    quick(work) {
      try {
        return work(quickSession)
      } catch (error) {
        if (!leavesSessionIdle(error)) {
          closeSession(lib, quickSession)
          quickSession = openOr(open, quickSession)
        }
        throw error
      }
    },
    async lease(work) {
      while (leased >= LIMITS.hsmSessionsMax) await new Promise<void>((resolve) => waiting.push(resolve))
      leased += 1
      let session: Handle | undefined
      try {
        session = idle.pop() ?? open()
        const value = await work(session)
        idle.push(session)
        return value
      } catch (error) {
        if (session !== undefined) {
          if (leavesSessionIdle(error)) idle.push(session)
          else closeSession(lib, session)
        }
        throw error
      } finally {
        leased -= 1
        waiting.shift()?.()
      }
    },
    close() {
      for (const session of [quickSession, ...idle.splice(0)]) closeSession(lib, session)
    },
  }
}

/** A session that cannot be replaced stays, closed: the next call on it says that the device is gone. */
const openOr = (open: () => Handle, fallback: Handle): Handle => {
  try {
    return open()
  } catch {
    return fallback
  }
}

const SAMPLES = 16

/**
 * Where calls of a class run: on the caller's own thread while they are short, on the pool when even the fastest of the
 * last ones was long. The fastest, because a pause of the process lengthens a call but never shortens one.
 */
const createTimings = (): { isLong(name: string): boolean; record(name: string, ms: number): void } => {
  const classes = new Map<string, { readonly samples: number[]; next: number; isLong: boolean }>()
  return {
    isLong: (name) => classes.get(name)?.isLong ?? false,
    record(name, ms) {
      let entry = classes.get(name)
      if (entry === undefined) {
        entry = { samples: [], next: 0, isLong: false }
        classes.set(name, entry)
      }
      entry.samples[entry.next] = ms
      entry.next = (entry.next + 1) % SAMPLES
      if (entry.next !== 0) return
      must(entry.samples.length === SAMPLES, 'a full round of samples')
      const fastest = Math.min(...entry.samples)
      entry.isLong = entry.isLong ? fastest > LIMITS.hsmShortCallMsMax / 2 : fastest > LIMITS.hsmShortCallMsMax
    },
  }
}
