import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Route } from '../../schemas/contract.ts'
import { CONTRACTS, OPERATION_NAMES, type OperationName, toContract } from '../../schemas/registry.ts'
import { isRecord } from '../core/byteFields.ts'
import type { Outgoing } from '../core/request.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { isBodiless, REST_PREFIX, toFieldName, toFieldSchemas } from '../core/route.ts'
import { MEDIA_TYPES, type WireFormat } from '../core/wire.ts'
import { createAllowedMethods } from './allowedMethods.ts'
import { readClientCertificate } from './clientCertificate.ts'
import { type Codec, createCodecs, mergePathFields, toReplyFormat } from './codec.ts'
import { encodeError } from './errorBody.ts'
import { toCollectedBody } from './httpBody.ts'
import { sendError, withErrorHeaders } from './httpErrors.ts'
import { createHttpServer, type HttpServer, type TlsOptions } from './httpServer.ts'
import { addOpenRoutes, OPEN_PATHS, type OpenPorts } from './openRoutes.ts'
import { collectHeader, type RequestHeaders } from './requestHeaders.ts'
import { createServe, type Serve, type ServePorts } from './serve.ts'
import { type FieldSchemas, readQuery, readTextField } from './textFields.ts'

export interface RestOptions extends ServePorts {
  readonly tls?: TlsOptions
  /** Adds `/healthz`, `/readyz`, `/metrics` and `/openapi.json` to this listener. */
  readonly open?: OpenPorts
}

/**
 * The REST gateway: every route of every contract, and nothing of its own. It decides nothing about a request but
 * where it goes; body, query and path are decoded when the pipeline asks for them.
 */
export const createRestGateway = (options: RestOptions): HttpServer => {
  const server = createHttpServer(options.telemetry, options.tls)
  const serve = createServe(options)
  const codecs = createCodecs()
  const served = OPERATION_NAMES.flatMap((name) => CONTRACTS[name].routes.map((route) => ({ name, route })))
  for (const { name, route } of served) {
    const codec = codecs.get(name)
    if (codec === undefined) continue
    const target: Target = { name, route, codec, schemas: toFieldSchemas(toContract(name)) }
    server.app.route({
      method: route.method,
      url: `${REST_PREFIX}${route.path}`,
      handler: (request, reply) => answer({ target, serve }, request, reply),
    })
  }
  const paths = served.map(({ route }) => ({ method: route.method, path: `${REST_PREFIX}${route.path}` }))
  return addOpen(server, paths, options.open)
}

/** A listener with only the routes that need no token, for a port of its own. */
export const createAdminListener = (options: {
  readonly telemetry: ServePorts['telemetry']
  readonly open: OpenPorts
  readonly tls?: TlsOptions
}): HttpServer => addOpen(createHttpServer(options.telemetry, options.tls), [], options.open)

const addOpen = (
  server: HttpServer,
  paths: readonly { readonly method: string; readonly path: string }[],
  open: OpenPorts | undefined,
): HttpServer => {
  if (open !== undefined) addOpenRoutes(server.app, open)
  const openPaths = open === undefined ? [] : OPEN_PATHS.map((path) => ({ method: 'GET', path }))
  const findAllowed = createAllowedMethods([...paths, ...openPaths])
  server.app.setNotFoundHandler((request, reply) => {
    const allowed = findAllowed(splitUrl(request.raw.url).path)
    if (allowed.length === 0) {
      return sendError(reply, request.id, { code: 'NOT_FOUND', message: 'there is no such route' })
    }
    const message = `the route takes ${allowed.join(', ')}`
    return sendError(reply.header('allow', allowed.join(', ')), request.id, { code: 'METHOD_NOT_ALLOWED', message })
  })
  return server
}

/** One route of one operation. */
interface Target {
  readonly name: OperationName
  readonly route: Route
  readonly codec: Codec
  readonly schemas: FieldSchemas
}

const answer = async (
  { target, serve }: { readonly target: Target; readonly serve: Serve },
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> => {
  const headers = readHeaders(request)
  const body = toCollectedBody(request.body)
  if (body.isTooLarge) reply.header('connection', 'close')
  const certificate = readClientCertificate(request.raw.socket)
  const outgoing = await serve(
    {
      operation: target.name,
      transport: 'rest',
      headers,
      ...(certificate === undefined ? {} : { certificate }),
      decode: () => decodeRequest(target, request, headers),
    },
    (deadline) => {
      reply.raw.once('close', () => {
        if (!reply.raw.writableFinished) deadline.cancel()
      })
    },
  )
  body.bytes.fill(0)
  return send({ outgoing, format: toFormat(headers), target }, reply)
}

const send = (
  { outgoing, format, target }: { readonly outgoing: Outgoing; readonly format: WireFormat; readonly target: Target },
  reply: FastifyReply,
): FastifyReply => {
  reply.header('content-type', MEDIA_TYPES[format])
  if (!outgoing.ok) {
    const { requestId, error } = outgoing
    return withErrorHeaders(reply, requestId, error).send(encodeError(format, requestId, error))
  }
  try {
    const encoded = target.codec.encode(format, outgoing.body)
    // Emitted when the last byte has gone to the operating system, or the connection is lost.
    reply.raw.once('close', () => encoded.fill(0))
    return reply.code(target.route.status).header('request-id', outgoing.requestId).send(encoded)
  } finally {
    outgoing.dispose()
  }
}

/** Duplicates are kept, which `request.headers` would drop. */
const readHeaders = ({ raw: { rawHeaders } }: FastifyRequest): RequestHeaders => {
  const collected: RequestHeaders = {}
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    collectHeader(collected, rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '')
  }
  return collected
}

/** The format of the request, unless `Accept` asks for MessagePack by name. */
const toFormat = (headers: RequestHeaders): WireFormat =>
  headers.accept === MEDIA_TYPES.msgpack ? 'msgpack' : toReplyFormat(headers['content-type'])

const decodeRequest = (
  { route, codec, schemas }: Target,
  request: FastifyRequest,
  headers: RequestHeaders,
): Result<Record<string, unknown>> => {
  const { query } = splitUrl(request.raw.url)
  const fields = readPath(request.params, schemas)
  if (!fields.ok) return fields
  const body = isBodiless(route.method)
    ? readBodiless(query, schemas, request)
    : decodeWithBody(query, codec, { request, headers })
  return body.ok ? mergePathFields(body.value, fields.value) : body
}

const readBodiless = (
  query: string,
  schemas: FieldSchemas,
  { raw: { headers } }: FastifyRequest,
): Result<Record<string, unknown>> => {
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  return hasBody ? fail('INVALID_REQUEST', 'a GET or DELETE must have no body') : readQuery(query, schemas)
}

const decodeWithBody = (
  query: string,
  codec: Codec,
  { request, headers }: { readonly request: FastifyRequest; readonly headers: RequestHeaders },
): Result<Record<string, unknown>> => {
  if (query !== '') return fail('INVALID_REQUEST', 'a POST or PUT takes its fields in the body, not in the query')
  const body = toCollectedBody(request.body)
  return codec.decode({ contentType: headers['content-type'], bytes: body.bytes, isTooLarge: body.isTooLarge })
}

/** The router has percent-decoded the segments. */
const readPath = (params: unknown, schemas: FieldSchemas): Result<Record<string, unknown>> => {
  const fields: Record<string, unknown> = Object.create(null)
  if (!isRecord(params)) return ok(fields)
  for (const [segment, text] of Object.entries(params)) {
    const name = toFieldName(segment)
    const value = readTextField(schemas, name, String(text))
    if (!value.ok) return value
    fields[name] = value.value
  }
  return ok(fields)
}

const splitUrl = (url = ''): { readonly path: string; readonly query: string } => {
  const mark = url.indexOf('?')
  return mark === -1 ? { path: url, query: '' } : { path: url.slice(0, mark), query: url.slice(mark + 1) }
}
