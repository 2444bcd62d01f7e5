import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import fastify, { type FastifyError, type FastifyInstance } from 'fastify'
import { LIMITS } from '../../schemas/limits.ts'
import type { Telemetry } from '../core/ports.ts'
import { collectBody } from './httpBody.ts'
import { refuseMalformedHttp, sendError, toFailure } from './httpErrors.ts'
import { readRequestId } from './requestHeaders.ts'
import { toErrorName } from './serve.ts'

/** TLS of a listener, PEM. With `clientCa`, client certificates are asked for, and verified ones reach the authenticator. */
export interface TlsOptions {
  readonly key: string | Buffer
  readonly cert: string | Buffer
  readonly clientCa?: string | Buffer
}

/** An HTTP server with the limits and manners of the service, and no route yet. */
export interface HttpServer {
  readonly app: FastifyInstance
  /** Opens the listener; port 0 takes a free one. Gives the port. Rejects as `listen` does, `EADDRINUSE` included. */
  listen(address: { readonly host: string; readonly port: number }): Promise<number>
  /** Takes no new request, lets those under way end, and cuts what is left after `ms`. */
  close(ms?: number): Promise<void>
}

/**
 * Fastify without its judgement: body parsing, content types and validation come later, after authentication. Every
 * answer, errors of the HTTP layer included, is JSON in the form of the error table and may not be stored.
 */
export const createHttpServer = (telemetry: Telemetry, tls?: TlsOptions): HttpServer => {
  let server: Server | undefined
  const headers = tls === undefined ? SECURITY_HEADERS : { ...SECURITY_HEADERS, ...TLS_ONLY_HEADERS }
  const app: FastifyInstance = fastify({
    logger: false,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    genReqId: (raw: IncomingMessage) => readRequestId(headerText(raw.headers['request-id'])) ?? randomUUID(),
    routerOptions: { maxParamLength: LIMITS.pathSegmentCharsMax, querystringParser: () => ({}) },
    clientErrorHandler: refuseMalformedHttp,
    schemaController: { compilersFactory: WITHOUT_SCHEMAS },
    frameworkErrors: (error, request, reply) => sendError(reply.headers(headers), request.id, toFailure(error)),
    serverFactory: (listener: RequestListener) => {
      server = openServer(listener, tls)
      return server
    },
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', collectBody)
  app.addHook('onRequest', async (request, reply) => {
    // Fastify would refuse a content type before the caller is known; the codec reads it from the raw headers, later.
    delete request.raw.headers['content-type']
    reply.headers(headers)
  })
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    const failure = toFailure(error)
    if (failure.code === 'INTERNAL') {
      telemetry.log('error', 'an HTTP request failed', { request_id: request.id, error: toErrorName(error) })
    }
    return sendError(reply, request.id, failure)
  })
  return {
    app,
    listen: async ({ host, port }) => {
      await app.listen({ host, port })
      const address = server?.address()
      return typeof address === 'object' && address !== null ? address.port : port
    },
    close: async (ms = LIMITS.drainDeadlineMs) => {
      const timer = setTimeout(() => server?.closeAllConnections(), ms)
      await app.close()
      clearTimeout(timer)
    },
  }
}

const refuseSchema = (): never => {
  throw new Error('a route has a schema for Fastify, which checks nothing here')
}

/** In place of Fastify's own compilers, which load and start a validator that no route uses. */
const WITHOUT_SCHEMAS = { buildValidator: () => refuseSchema, buildSerializer: () => refuseSchema }

const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
} as const

const TLS_ONLY_HEADERS = { 'strict-transport-security': 'max-age=63072000' } as const

const openServer = (listener: RequestListener, tls: TlsOptions | undefined): Server => {
  const options = {
    maxHeaderSize: LIMITS.headerBytesMax,
    headersTimeout: LIMITS.httpHeadersTimeoutMs,
    requestTimeout: LIMITS.requestDeadlineMs,
    keepAliveTimeout: LIMITS.httpKeepAliveMs,
    connectionsCheckingInterval: LIMITS.httpConnectionsCheckMs,
    noDelay: true,
  }
  const server =
    tls === undefined
      ? createServer(options, listener)
      : createTlsServer(
          {
            ...options,
            key: tls.key,
            cert: tls.cert,
            ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa }),
            minVersion: 'TLSv1.2',
            // A connection without a certificate may still bring a token; a certificate counts only if it verified.
            requestCert: tls.clientCa !== undefined,
            rejectUnauthorized: false,
          },
          listener,
        )
  server.maxConnections = LIMITS.httpConnectionsMax
  return server
}

const headerText = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined
