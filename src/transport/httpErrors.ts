import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import { ERRORS } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Failure } from '../core/result.ts'
import { toErrorBody } from './errorBody.ts'

/** Sends a failure as JSON with the status of its code, and the headers that HTTP wants with some codes. */
export const sendError = (reply: FastifyReply, requestId: string, failure: Failure): FastifyReply =>
  withErrorHeaders(reply, requestId, failure)
    .header('content-type', 'application/json')
    .send(JSON.stringify(toErrorBody(requestId, failure)))

/** Sets status and headers of a failure, and leaves the body to the caller. */
export const withErrorHeaders = (reply: FastifyReply, requestId: string, { code }: Failure): FastifyReply => {
  const { status, retryable } = ERRORS[code]
  reply.code(status).header('request-id', requestId)
  if (code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer')
  if (retryable && (status === 429 || status === 503)) reply.header('retry-after', String(LIMITS.retryAfterSeconds))
  return reply
}

/** An error of the HTTP layer in the words of the error table; its own message is not shown. */
export const toFailure = (error: { readonly statusCode?: number; readonly code?: string }): Failure => {
  const status = error.statusCode ?? 500
  if (status === 413) return { code: 'TOO_LARGE', message: 'the request is too large' }
  if (status === 415) return { code: 'UNSUPPORTED_MEDIA_TYPE', message: 'the content type is malformed' }
  if (status >= 400 && status < 500) return { code: 'INVALID_REQUEST', message: 'the HTTP request is malformed' }
  return { code: 'INTERNAL', message: 'a fault of the service' }
}

/** Answers what Node could not parse as HTTP, and closes the connection. */
export const refuseMalformedHttp = (error: Error & { readonly code?: string }, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy()
    return
  }
  const failure: Failure =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? { code: 'TOO_LARGE', message: `headers must be at most ${LIMITS.headerBytesMax} bytes` }
      : { code: 'INVALID_REQUEST', message: 'the HTTP request is malformed' }
  const body = JSON.stringify(toErrorBody(randomUUID(), failure))
  const { status } = ERRORS[failure.code]
  const lines = [
    `HTTP/1.1 ${status} ${status === 413 ? 'Payload Too Large' : 'Bad Request'}`,
    'content-type: application/json',
    'cache-control: no-store',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`)
}
