import { open } from 'node:fs/promises'
import { LIMITS } from '../../schemas/limits.ts'
import { digestSecret, isSameDigest } from '../core/constantTime.ts'
import type { Authenticator, Clock, Principal, Scheduler, Telemetry } from '../core/ports.ts'
import { isJwtShaped, parseBearer } from './bearer.ts'

export interface BootstrapTokenOptions {
  /** Holds the token and at most one line end. */
  readonly file: string
  /** Whom the token stands for; the `method` is filled in here. */
  readonly principal: Omit<Principal, 'method'>
  /** Unix milliseconds from which on the token is refused. */
  readonly expiresAtMs: number
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}

/** The principal of the dev profile's token; the starter policies let the role do everything. */
export const BOOTSTRAP_PRINCIPAL: Omit<Principal, 'method'> = {
  id: 'bootstrap',
  type: 'User',
  attributes: { roles: ['administrator'] },
}

/**
 * One opaque token from a file, for the time before an identity provider is there. The file is read once and only the
 * token's SHA-256 is kept. Each use is warned of in the log, at most once per bootstrapWarningIntervalMs, with a count.
 * Throws an Error for the operator: the file cannot be read, or holds no token of bootstrapTokenBytesMin bytes or more,
 * or one that has the shape of a JWT.
 */
export const createBootstrapToken = async (options: BootstrapTokenOptions): Promise<Authenticator> => {
  const { expiresAtMs, clock } = options
  const expected = await readDigest(options.file, options.telemetry)
  const principal: Principal = { ...options.principal, method: 'bootstrap_token' }
  const warn = createUseWarning(options)
  return {
    async authenticate(credentials) {
      const bearer = parseBearer(credentials)
      // Compared whatever was sent, so that the time tells nothing about the kind of credential that fits here.
      const isToken = isSameDigest(digestSecret(bearer.kind === 'token' ? bearer.token : ''), expected)
      if (bearer.kind === 'none') return { kind: 'not_mine' }
      if (bearer.kind === 'malformed') return { kind: 'refused', reason: 'malformed' }
      if (isJwtShaped(bearer.token)) return { kind: 'not_mine' }
      if (!isToken) return { kind: 'refused', reason: 'wrong_token' }
      if (clock.now() >= expiresAtMs) return { kind: 'refused', reason: 'expired' }
      warn()
      return { kind: 'authenticated', principal }
    },
  }
}

const readDigest = async (file: string, telemetry: Telemetry): Promise<Uint8Array> => {
  await using handle = await open(file, 'r')
  const { mode } = await handle.stat()
  if ((mode & 0o077) !== 0) telemetry.log('warn', 'the bootstrap token file can be read by others than its owner')
  const bytes = Buffer.alloc(LIMITS.tokenBytesMax + 3)
  try {
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0)
    const end =
      bytes[bytesRead - 1] === 0x0a ? (bytes[bytesRead - 2] === 0x0d ? bytesRead - 2 : bytesRead - 1) : bytesRead
    const parsed = parseBearer({ authorization: `Bearer ${bytes.subarray(0, end).toString('latin1')}` })
    if (parsed.kind !== 'token')
      throw new Error('the bootstrap token file must hold one token (RFC 6750 characters) and nothing else')
    if (parsed.token.length < LIMITS.bootstrapTokenBytesMin) {
      throw new Error(`the bootstrap token must have at least ${LIMITS.bootstrapTokenBytesMin} characters`)
    }
    if (isJwtShaped(parsed.token)) throw new Error('the bootstrap token must not have the shape of a JWT')
    return digestSecret(parsed.token)
  } finally {
    bytes.fill(0)
  }
}

/** Warns of the first use at once and of later ones when the interval is over: none goes untold, and none floods. */
const createUseWarning = ({ telemetry, scheduler, principal }: BootstrapTokenOptions): (() => void) => {
  let untold = 0
  let quiet = false
  const tell = (): void => {
    quiet = untold > 0
    if (!quiet) return
    telemetry.log('warn', 'the bootstrap token was used', { uses: untold, principal: principal.id })
    untold = 0
    scheduler.after(LIMITS.bootstrapWarningIntervalMs, tell)
  }
  return () => {
    untold += 1
    if (!quiet) tell()
  }
}
