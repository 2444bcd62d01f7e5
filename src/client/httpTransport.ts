import type { Route } from '../../schemas/contract.ts'
import { CONTRACTS, type OperationName, toContract } from '../../schemas/registry.ts'
import { findByteFields } from '../core/byteFields.ts'
import { writeQuery } from '../core/query.ts'
import { fillPath, findPathFields, isBodiless, toFieldSchemas } from '../core/route.ts'
import { decodeBody, encodeBody, MEDIA_TYPES } from '../core/wire.ts'
import type { Call, ClientTransport } from './clientTransport.ts'
import { KmsError, malformedReply, toKmsError, unreachable } from './kmsError.ts'

export interface HttpClientOptions {
  /** Base URL of the gateway, for instance `https://kms.example:8080`. */
  readonly url: string
  /** Another `fetch`, for instance one with its own CA or client certificate. */
  readonly fetch?: typeof fetch
}

/** Calls over REST with JSON. Plaintexts become JavaScript strings on the way; NATS with MessagePack avoids that. */
export const createHttpClientTransport = (options: HttpClientOptions): ClientTransport => {
  const ask = options.fetch ?? fetch
  const base = options.url.replace(/\/+$/, '')
  return {
    send: async (call) => {
      const { url, init } = toHttpRequest(base, call)
      const answer = await exchange(ask, url, init)
      return readAnswer(call.operation, answer)
    },
    close: async () => undefined,
  }
}

interface Answer {
  readonly isOk: boolean
  readonly bytes: Uint8Array
}

const exchange = async (ask: typeof fetch, url: string, init: RequestInit): Promise<Answer> => {
  try {
    const response = await ask(url, { ...init, redirect: 'error' })
    return { isOk: response.ok, bytes: new Uint8Array(await response.arrayBuffer()) }
  } catch {
    throw unreachable('the service could not be reached over HTTP')
  }
}

const readAnswer = (operation: OperationName, { isOk, bytes }: Answer): Record<string, unknown> => {
  const byteFields = isOk ? findByteFields(CONTRACTS[operation].reply) : undefined
  const body = decodeBody(bytes, { format: 'json', byteFields, names: new Set() })
  bytes.fill(0)
  if (!body.ok) throw malformedReply()
  if (!isOk) throw toKmsError(body.value)
  return body.value
}

const toHttpRequest = (base: string, call: Call): { readonly url: string; readonly init: RequestInit } => {
  const { route, path } = chooseRoute(call)
  const inPath = findPathFields(route.path)
  const rest = Object.fromEntries(
    Object.entries(call.request).filter(([name, value]) => !inPath.includes(name) && value !== undefined),
  )
  const headers = {
    authorization: `Bearer ${call.token}`,
    accept: MEDIA_TYPES.json,
    ...(call.requestId === undefined ? {} : { 'request-id': call.requestId }),
    ...(call.idempotencyKey === undefined ? {} : { 'idempotency-key': call.idempotencyKey }),
  }
  const { method } = route
  if (isBodiless(method)) {
    const query = writeQuery(rest, toFieldSchemas(toContract(call.operation)))
    const url = `${base}${path}${query === '' ? '' : `?${query}`}`
    return { url, init: { method, headers, signal: call.signal } }
  }
  const byteFields = findByteFields(CONTRACTS[call.operation].request)
  const body = encodeBody(rest, { format: 'json', byteFields })
  return {
    url: `${base}${path}`,
    init: { method, headers: { ...headers, 'content-type': MEDIA_TYPES.json }, body, signal: call.signal },
  }
}

/** The first route whose path the request can fill. */
const chooseRoute = ({ operation, request }: Call): { readonly route: Route; readonly path: string } => {
  for (const route of toContract(operation).routes) {
    const path = fillPath(route, request)
    if (path !== undefined) return { route, path }
  }
  throw new KmsError({ code: 'INVALID_REQUEST', message: `${operation} needs key_id`, retryable: false })
}
