import { headers as createHeaders, type MsgHdrs, type NatsConnection } from '@nats-io/nats-core'
import { type Service, ServiceErrorCodeHeader, ServiceErrorHeader, type ServiceMsg, Svcm } from '@nats-io/services'
import { toKebab, toSubject } from '../../schemas/contract.ts'
import { ERRORS, type ErrorCode } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { CONTRACTS, OPERATION_NAMES, type OperationName } from '../../schemas/registry.ts'
import type { Outgoing } from '../core/request.ts'
import { MEDIA_TYPES, type WireFormat } from '../core/wire.ts'
import { createZeroing } from '../core/zeroing.ts'
import { createAdmission } from './admission.ts'
import { type Codec, createCodecs, toReplyFormat } from './codec.ts'
import { encodeError } from './errorBody.ts'
import { collectHeader, type RequestHeaders } from './requestHeaders.ts'
import { createServe, type ServePorts, toErrorName } from './serve.ts'

export interface NatsTransportOptions extends ServePorts {
  /** The `kms-front` connection; stays the caller's to close. */
  readonly connection: NatsConnection
  /** Semantic version shown by `$SRV.INFO`. */
  readonly version: string
  /** Called for each request dropped because its reply subject is absent or not an inbox. */
  readonly onReplySubjectRefused?: () => void
}

/** The service on NATS. Which requests it takes follows the ledger's role: only the writer answers. */
export interface NatsTransport {
  /** Takes requests from the queue group `kms`. */
  join(): Promise<void>
  /** Takes no more, and stays discoverable under `$SRV`; what is in flight is still answered. */
  leave(): Promise<void>
  /** Leaves for good and waits for what is in flight, at most `ms`; false if something was left. */
  drain(ms?: number): Promise<boolean>
  /** Whether requests are being taken now. */
  isServing(): boolean
}

export const SERVICE_NAME = 'kms'

/**
 * An inbox: `_INBOX.` and at least one token, no wildcards. The server does not check the reply subjects of requests,
 * so a client could otherwise have an answer written anywhere this connection may publish.
 */
export const isInbox = (subject: string): boolean =>
  /^_INBOX(\.[^\s.*>]+)+$/.test(subject) && !OWN_INBOXES.some((own) => `${subject}.`.startsWith(`_INBOX.${own}.`))

/** Where JetStream and other instances answer the service itself: no answer to a caller may turn up there. */
const OWN_INBOXES = ['kms-front', 'kms-ledger', 'provision', 'auditor'] as const

/** Makes the transport; it serves nothing before the first {@link NatsTransport.join}. */
export const createNatsTransport = (options: NatsTransportOptions): NatsTransport => {
  const { connection, telemetry } = options
  // Counts this transport's own requests for drain(); the shared bound is in options.admission.
  const own = createAdmission(Number.POSITIVE_INFINITY)
  const handle = createHandler(options, own)
  let service: Service | undefined
  let wanted: 'serving' | 'discoverable' | 'gone' = 'gone'
  let isServing = false
  let turn: Promise<unknown> = Promise.resolve()

  /** Changes of role happen one after the other. */
  const change = (to: typeof wanted): Promise<void> => {
    wanted = to
    const done = turn.then(() => settle())
    turn = done.catch(() => undefined)
    return done
  }
  const settle = async (): Promise<void> => {
    const asked = wanted
    if (service !== undefined && isServing === (asked === 'serving') && asked !== 'gone') return
    const before = service
    service = undefined
    isServing = false
    await before?.stop()
    if (asked === 'gone' || connection.isClosed()) return
    const added = await announce(options)
    if (asked === 'serving') addEndpoints(added, handle)
    service = added
    isServing = asked === 'serving'
    void added.stopped.then((error) => {
      if (service === added) retry(error)
    })
  }
  /** A service that ended by itself lost a subscription, for instance by a change of the server's permissions. */
  const retry = (error: Error | null): void => {
    service = undefined
    isServing = false
    if (connection.isClosed() || wanted === 'gone') return
    telemetry.log('error', 'the micro service lost a subscription; it is added again', { error: toErrorName(error) })
    setTimeout(() => {
      if (wanted !== 'gone') change(wanted).catch(retry)
    }, LIMITS.natsServiceRetryMs).unref()
  }

  return {
    join: () => change('serving'),
    leave: () => change('discoverable'),
    drain: async (ms = LIMITS.drainDeadlineMs) => {
      await change('gone')
      const idle = await own.whenIdle(ms)
      if (!connection.isClosed()) await connection.flush()
      return idle
    },
    isServing: () => isServing,
  }
}

const announce = ({ connection, version }: NatsTransportOptions): Promise<Service> =>
  new Svcm(connection).add({
    name: SERVICE_NAME,
    version,
    description: 'Key management: one endpoint for each operation',
    queue: SERVICE_NAME,
  })

const addEndpoints = (service: Service, handle: Handler): void => {
  for (const name of OPERATION_NAMES) {
    const { summary, effect } = CONTRACTS[name]
    service.addEndpoint(toKebab(name), {
      subject: toSubject(name),
      handler: (error, message) => {
        if (error === null) handle(name, message)
      },
      metadata: { summary, effect },
    })
  }
}

type Handler = (name: OperationName, message: ServiceMsg) => void

const createHandler = (options: NatsTransportOptions, own: ReturnType<typeof createAdmission>): Handler => {
  const { connection, telemetry, onReplySubjectRefused } = options
  const serve = createServe(options)
  const codecs = createCodecs()
  const zeroing = createZeroing(connection)
  const toReplyHeaders = createReplyHeaders()

  const answer = async (name: OperationName, message: ServiceMsg, codec: Codec): Promise<void> => {
    // Read at once: nats.js parses lazily out of a buffer that it may use again.
    const { data } = message
    const reply = message.reply ?? ''
    const headers = readHeaders(message)
    const format = toReplyFormat(headers['content-type'])
    const send = (outgoing: Outgoing): void => {
      const encoded = outgoing.ok
        ? codec.encode(format, outgoing.body)
        : encodeError(format, outgoing.requestId, outgoing.error)
      connection.publish(reply, encoded, { headers: toReplyHeaders(format, outgoing.ok ? 'OK' : outgoing.error.code) })
      zeroing.onceSent(encoded)
    }
    const outgoing = await serve({
      operation: name,
      transport: 'nats',
      headers,
      decode: () => codec.decode({ contentType: headers['content-type'], bytes: data }),
    })
    try {
      send(outgoing)
    } catch (error) {
      telemetry.log('error', 'a reply could not be sent', { operation: name, error: toErrorName(error) })
      const fault = { code: 'INTERNAL', message: 'a fault of the service' } as const
      if (!connection.isClosed()) send({ ok: false, requestId: outgoing.requestId, error: fault })
    } finally {
      if (outgoing.ok) outgoing.dispose()
      data.fill(0)
    }
  }

  return (name, message) => {
    if (!isInbox(message.reply ?? '')) {
      onReplySubjectRefused?.()
      return
    }
    const codec = codecs.get(name)
    if (codec === undefined) return
    own.enter()
    answer(name, message, codec)
      // The connection refuses even an error: nobody is left to tell but the log.
      .catch((error) => telemetry.log('error', 'no reply was sent', { operation: name, error: toErrorName(error) }))
      .finally(() => own.leave())
  }
}

const readHeaders = (message: ServiceMsg): RequestHeaders => {
  const collected: RequestHeaders = {}
  for (const [name, values] of message.headers ?? []) {
    for (const value of values) collectHeader(collected, name, value)
  }
  return collected
}

/** nats.js only reads the headers of a reply, so one object serves all replies of its kind. */
const createReplyHeaders = () => {
  const made = new Map<string, MsgHdrs>()
  return (format: WireFormat, code: ErrorCode | 'OK'): MsgHdrs => {
    const kind = `${format} ${code}`
    const known = made.get(kind)
    if (known !== undefined) return known
    const fresh = createHeaders()
    fresh.set('Content-Type', MEDIA_TYPES[format])
    if (code !== 'OK') {
      fresh.set(ServiceErrorHeader, code)
      fresh.set(ServiceErrorCodeHeader, String(ERRORS[code].status))
    }
    made.set(kind, fresh)
    return fresh
  }
}
