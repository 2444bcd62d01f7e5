import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import type { ClientTransport } from '../client/clientTransport.ts'
import { createHttpClientTransport } from '../client/httpTransport.ts'
import { KmsError } from '../client/kmsError.ts'
import { createNatsClientTransport } from '../client/natsTransport.ts'
import { ok, type Result } from '../core/result.ts'
import type { Caller, ReplyFields, TargetFlags } from './caller.ts'
import { isLoopbackHost } from './configRules.ts'
import { type CliFault, EXIT, misused, unreachable } from './exit.ts'
import { openNats } from './natsLogin.ts'
import type { NatsAccount, Settings } from './settings.ts'
import { readTextFile } from './terminal.ts'

/**
 * Connects to the service that the flags name, else to the installation's own: by NATS where it has a user for that, else
 * by REST. The installation's token and password go to no other machine: elsewhere the flags have to name some.
 */
export const openCaller = async (settings: Settings, flags: TargetFlags): Promise<Result<Caller, CliFault>> => {
  const target = chooseTarget(settings, flags)
  if (!target.ok) return target
  const { place, isOwn, advice } = target.value
  const tokenFile = flags.tokenFile ?? (isOwn ? settings.tokenFile : undefined)
  if (tokenFile === undefined) return misused(`a token for ${place} is needed: --token-file`)
  const token = await readTextFile(tokenFile, LIMITS.tokenBytesMax)
  if (!token.ok) {
    return unreachable(
      flags.tokenFile === undefined
        ? `no running service found at ${place}: ${advice} (${token.error})`
        : `--token-file: ${token.error}`,
    )
  }
  if (target.value.kind === 'rest')
    return ok(toCaller(createHttpClientTransport({ url: place }), { token: token.value, place, advice }))
  const { account } = target.value
  const tls = place.startsWith('tls://') ? (settings.tls ?? {}) : settings.tls
  const servers = flags.nats === undefined ? settings.servers : [flags.nats]
  const connection = await openNats({ servers, tls: isOwn ? tls : undefined, ...account, advice })
  if (!connection.ok) return connection
  const inboxPrefix = account === undefined ? '_INBOX' : `_INBOX.${account.user}`
  const transport = createNatsClientTransport({ connection: connection.value, inboxPrefix })
  return ok(toCaller(transport, { token: token.value, place, advice }, connection.value))
}

interface Place {
  readonly place: string
  /** Whether it is on this machine or named by its configuration. */
  readonly isOwn: boolean
  readonly advice: string
}
type Target =
  | (Place & { readonly kind: 'rest' })
  | (Place & { readonly kind: 'nats'; readonly account: NatsAccount | undefined })

const chooseTarget = (settings: Settings, flags: TargetFlags): Result<Target, CliFault> => {
  if (flags.url !== undefined) return toRestTarget(flags.url, settings)
  if (flags.nats === undefined && flags.user === undefined && settings.app === undefined)
    return ok({ kind: 'rest', place: settings.httpUrl, isOwn: true, advice: settings.advice })
  const isOwn = flags.nats === undefined || isLoopbackUrl(flags.nats)
  if (flags.nats !== undefined && !/^(nats|tls):\/\/[^\s/]+$/.test(flags.nats))
    return misused('--nats must be nats://host:port or tls://host:port')
  const account = chooseAccount(flags, isOwn ? settings.app : undefined)
  if (!account.ok) return account
  const place = flags.nats ?? settings.servers.join(', ')
  const advice = flags.nats === undefined ? settings.advice : 'is the address right?'
  return ok({ kind: 'nats', place, isOwn, advice, account: account.value })
}

const toRestTarget = (url: string, settings: Settings): Result<Target, CliFault> =>
  /^https?:\/\/[^\s/]+\/?$/.test(url) && URL.canParse(url)
    ? ok({
        kind: 'rest',
        place: url,
        isOwn: isLoopbackUrl(url) || url === settings.httpUrl,
        advice: 'is the address right?',
      })
    : misused('--url must be http://host:port or https://host:port')

const chooseAccount = (
  { user, passwordFile }: TargetFlags,
  preset: NatsAccount | undefined,
): Result<NatsAccount | undefined, CliFault> => {
  if (user === undefined && passwordFile === undefined) return ok(preset)
  if (user === undefined) return misused('--password-file goes with --user')
  if (passwordFile !== undefined) return ok({ user, passwordFile })
  return user === preset?.user ? ok(preset) : misused('--user goes with --password-file')
}

const isLoopbackUrl = (url: string): boolean => URL.canParse(url) && isLoopbackHost(new URL(url).hostname)

const toCaller = (
  transport: ClientTransport,
  at: { readonly token: string; readonly place: string; readonly advice: string },
  connection?: NatsConnection,
): Caller => ({
  call: async (operation, request, { timeoutMs, idempotencyKey }) => {
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      const reply: ReplyFields = await transport.send({
        operation,
        request,
        token: at.token,
        signal,
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      })
      return ok(reply)
    } catch (error) {
      if (!(error instanceof KmsError)) throw error
      return signal.aborted
        ? unreachable(`no answer from ${at.place} within ${timeoutMs / 1000} s`)
        : toFault(error, at)
    }
  },
  close: async () => {
    await transport.close()
    await connection?.close()
  },
})

const toFault = (
  { code, message, requestId, retryable }: KmsError,
  at: { readonly place: string; readonly advice: string },
): { readonly ok: false; readonly error: CliFault } => {
  if (code === 'UNREACHABLE') return unreachable(`no running service found at ${at.place}: ${at.advice} (${message})`)
  if (code === 'MALFORMED_REPLY') return unreachable(`what answers at ${at.place} is not this service`)
  const refusal = { error: { code, message, request_id: requestId ?? null, retryable } }
  return { ok: false, error: { exit: EXIT.refused, message: `${code}: ${message}`, refusal } }
}
