import { headers as createHeaders, createInbox, type Msg, type NatsConnection } from '@nats-io/nats-core'
import { toSubject } from '../../schemas/contract.ts'
import { isRecord } from '../core/byteFields.ts'
import { encodeMsgpack } from '../core/encodeMsgpack.ts'
import { decodeBody, MEDIA_TYPES, parseMediaType } from '../core/wire.ts'
import { createZeroing } from '../core/zeroing.ts'
import type { Call, ClientTransport } from './clientTransport.ts'
import { cancelled, KmsError, malformedReply, toKmsError, unreachable } from './kmsError.ts'

export interface NatsClientOptions {
  /** An open connection, which stays the caller's to close. Set `noAsyncTraces: true` on it for speed. */
  readonly connection: NatsConnection
  /** The inbox prefix that the NATS user may subscribe, `_INBOX.<user>`. */
  readonly inboxPrefix: string
}

interface Waiting {
  readonly resolve: (body: Record<string, unknown>) => void
  readonly reject: (error: KmsError) => void
}

/**
 * Calls over NATS with MessagePack. All replies come through one wildcard subscription of its own, which costs a third of
 * `nc.request`.
 */
export const createNatsClientTransport = ({ connection, inboxPrefix }: NatsClientOptions): ClientTransport => {
  const inbox = createInbox(inboxPrefix)
  const waiting = new Map<string, Waiting>()
  const zeroing = createZeroing(connection)
  let count = 0
  const subscription = connection.subscribe(`${inbox}.*`, {
    callback: (error, message) => {
      if (error !== null) return failAll(waiting, unreachable('replies cannot be received: is the inbox prefix right?'))
      const token = message.subject.slice(inbox.length + 1)
      const waiter = waiting.get(token)
      // An answer after the deadline, or to a call that was cancelled: nobody waits, but it may hold a secret.
      if (waiter === undefined) return void message.data.fill(0)
      waiting.delete(token)
      const reply = readReply(message)
      if (reply instanceof KmsError) waiter.reject(reply)
      else waiter.resolve(reply)
    },
  })
  void connection.closed().then(() => failAll(waiting, unreachable('the connection is closed')))

  return {
    send: (call) =>
      new Promise((resolve, reject) => {
        if (call.signal.aborted) return reject(cancelled())
        const token = String(count++)
        const onAbort = () => {
          waiting.delete(token)
          reject(cancelled())
        }
        const done = () => call.signal.removeEventListener('abort', onAbort)
        waiting.set(token, {
          resolve: (body) => {
            done()
            resolve(body)
          },
          reject: (error) => {
            done()
            reject(error)
          },
        })
        call.signal.addEventListener('abort', onAbort, { once: true })
        try {
          zeroing.onceSent(publish(connection, call, `${inbox}.${token}`))
        } catch {
          waiting.get(token)?.reject(unreachable('the request could not be sent: the connection is closed'))
          waiting.delete(token)
        }
      }),
    close: async () => {
      subscription.unsubscribe()
      failAll(waiting, unreachable('the client is closed'))
    },
  }
}

const publish = (connection: NatsConnection, call: Call, reply: string): Uint8Array => {
  const headers = createHeaders()
  headers.set('Authorization', `Bearer ${call.token}`)
  headers.set('Content-Type', MEDIA_TYPES.msgpack)
  if (call.requestId !== undefined) headers.set('Request-Id', call.requestId)
  if (call.idempotencyKey !== undefined) headers.set('Idempotency-Key', call.idempotencyKey)
  const body = encodeMsgpack(call.request)
  connection.publish(toSubject(call.operation), body, { reply, headers })
  return body
}

/** The reply with bytes of their own: nats.js hands out views of its socket buffer, which is zeroed here. */
const readReply = (message: Msg): Record<string, unknown> | KmsError => {
  const { data, headers } = message
  if (data.length === 0 && headers?.code === 503) return unreachable('no service answers: it is starting or not there')
  const format = parseMediaType(headers?.get('Content-Type') || undefined)
  if (!format.ok) return malformedReply()
  const body = decodeBody(data, { format: format.value, byteFields: undefined, names: new Set() })
  if (!body.ok) return malformedReply()
  if (headers?.has('Nats-Service-Error-Code')) return toKmsError(body.value)
  const own = Object.fromEntries(Object.entries(body.value).map(([name, value]) => [name, toOwnBytes(value)]))
  data.fill(0)
  return own
}

const toOwnBytes = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return Uint8Array.from(value)
  if (Array.isArray(value)) return value.map(toOwnBytes)
  if (!isRecord(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, toOwnBytes(member)]))
}

const failAll = (waiting: Map<string, Waiting>, error: KmsError): void => {
  for (const { reject } of waiting.values()) reject(error)
  waiting.clear()
}
