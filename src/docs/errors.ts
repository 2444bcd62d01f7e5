import { ERRORS } from '../../schemas/errors.ts'
import { toPage, toTable } from './markdown.ts'

/** `docs/ERRORS.md`: the error table. */
export const toErrorsPage = (): string =>
  toPage('Errors', 'schemas/errors.ts', [
    'Every error has the body `{"error": {"code", "message", "request_id", "retryable"}}`. The status is that of HTTP and ' +
      'the `Nats-Service-Error-Code` header of a NATS reply; its `Nats-Service-Error` header is the code. `request_id` is ' +
      'in the record and in the log. Only `code` is stable; `message` is for people.',
    'A retryable error may go away by itself. Ask again after a pause, and for a change only with the same ' +
      '`Idempotency-Key`: the first attempt may have happened.',
    toTable(
      ['code', 'HTTP', 'retryable', 'meaning'],
      Object.entries(ERRORS).map(([code, { status, retryable, meaning }]) => [
        `\`${code}\``,
        String(status),
        retryable ? 'yes' : 'no',
        meaning,
      ]),
    ),
  ])
