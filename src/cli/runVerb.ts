import { LIMITS } from '../../schemas/limits.ts'
import { toContract } from '../../schemas/registry.ts'
import { findByteFields, writeByteFields, zeroBytes } from '../core/byteFields.ts'
import { ok, type Result } from '../core/result.ts'
import type { OpenCaller, ReplyFields, TargetFlags } from './caller.ts'
import { type CliFault, EXIT, misused, unreachable } from './exit.ts'
import { listReplyBytes } from './flags.ts'
import { readFlags } from './readFlags.ts'
import { renderReply } from './render.ts'
import { readInput, type Terminal, write, writeOutput } from './terminal.ts'
import type { TypedVerb } from './verb.ts'

/** Asks the service what a verb means and shows the answer. The bytes that were read and received are zeroed at the end. */
export const runVerb = async (
  terminal: Terminal,
  openCaller: OpenCaller,
  typed: TypedVerb,
): Promise<Result<void, CliFault>> => {
  const timeoutMs = readTimeout(typed)
  if (!timeoutMs.ok) return timeoutMs
  const request = await readFlags(typed.flags, typed.find, (path, bytesMax) => readInput(terminal, path, bytesMax))
  if (!request.ok)
    return request.error.kind === 'usage' ? misused(request.error.message) : unreachable(request.error.message)
  try {
    const caller = await openCaller(toTargetFlags(typed))
    if (!caller.ok) return caller
    try {
      const idempotencyKey = typed.option('idempotency-key')
      const reply = await caller.value.call(typed.operation, request.value, {
        timeoutMs: timeoutMs.value,
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      })
      return reply.ok ? await showReply(terminal, typed, reply.value) : reply
    } finally {
      await caller.value.close()
    }
  } finally {
    zeroBytes(request.value)
  }
}

/** Prints a fault: one line for people, or with `asJson` the service's error body, always on standard error. */
export const toFaultText = ({ message, refusal }: CliFault, asJson: boolean): string =>
  asJson
    ? `${JSON.stringify(refusal ?? { error: { code: null, message, request_id: null, retryable: false } })}\n`
    : `chatelaine: ${message}\n`

const readTimeout = (typed: TypedVerb): Result<number, CliFault> => {
  const text = typed.option('timeout') ?? ''
  const seconds = Number(text)
  return /^\d{1,5}(\.\d{1,3})?$/.test(text) && seconds > 0 && seconds <= LIMITS.cliTimeoutSecondsMax
    ? ok(Math.ceil(seconds * 1000))
    : misused(`--timeout must be seconds, more than 0 and at most ${LIMITS.cliTimeoutSecondsMax}`)
}

const toTargetFlags = (typed: TypedVerb): TargetFlags => {
  const [nats, url, tokenFile] = [typed.option('nats'), typed.option('url'), typed.option('token-file')]
  const [user, passwordFile] = [typed.option('user'), typed.option('password-file')]
  return {
    ...(nats === undefined ? {} : { nats }),
    ...(url === undefined ? {} : { url }),
    ...(tokenFile === undefined ? {} : { tokenFile }),
    ...(user === undefined ? {} : { user }),
    ...(passwordFile === undefined ? {} : { passwordFile }),
  }
}

const showReply = async (terminal: Terminal, typed: TypedVerb, reply: ReplyFields): Promise<Result<void, CliFault>> => {
  const contract = toContract(typed.operation)
  const shown: Record<string, unknown> = { ...reply }
  let isStdoutTaken = false
  try {
    for (const field of listReplyBytes(contract)) {
      const path = typed.findOut(field)
      const bytes = reply[field]
      if (path === undefined || !(bytes instanceof Uint8Array)) continue
      const written = await writeOutput(terminal, path, bytes)
      if (!written.ok)
        return { ok: false, error: { exit: EXIT.unreachable, message: `cannot write ${field}: ${written.error}` } }
      delete shown[field]
      if (path === '-') isStdoutTaken = true
    }
    if (isStdoutTaken) return ok(undefined)
    const fields = findByteFields(contract.reply)
    const text = typed.isSet('json')
      ? `${JSON.stringify(fields ? writeByteFields(fields, shown) : shown)}\n`
      : renderReply(shown)
    await write(terminal.stdout, text)
    return ok(undefined)
  } finally {
    zeroBytes(reply)
  }
}
