import { LIMITS } from '../../schemas/limits.ts'

/**
 * The fields a log line may have. What is not here is left out and its name told, so that a new field is a decision
 * made in this file, where it can be seen: none of these ever carries a secret, token, encryption context or tag.
 */
export const LOG_FIELDS = [
  'action',
  'address',
  'backend',
  'cause',
  'class',
  'code',
  'count',
  'deadline_ms',
  'duty',
  'epoch',
  'error',
  'event',
  'exit_code',
  'expected',
  'expires_at',
  'file',
  'found',
  'frames',
  'hash',
  'host',
  'index',
  'issuer',
  'kind',
  'label',
  'lid',
  'listener',
  'log_file',
  'missing',
  'ms',
  'objects',
  'operation',
  'origin',
  'orphans',
  'pdp',
  'pid',
  'placement',
  'policies',
  'policies_in_force',
  'policy_version',
  'port',
  'principal',
  'queued',
  'reason',
  'request_id',
  'role',
  'seq',
  'server',
  'sha256',
  'signal',
  'size',
  'source',
  'state',
  'stream',
  'subject',
  'token_label',
  'transport',
  'type',
  'types',
  'url',
  'user',
  'uses',
  'version',
  'versions',
  'warning',
  'where',
  'why',
  'workers_up',
  'writer',
] as const

type Scalar = string | number | boolean

const ALLOWED: ReadonlySet<string> = new Set(LOG_FIELDS)

/** The fields that may be logged, text cut to a bound; names that may not are told in `fields_left_out`. */
export const toLoggable = (fields: Readonly<Record<string, unknown>> = {}): Record<string, Scalar> => {
  const kept: Record<string, Scalar> = {}
  const leftOut: string[] = []
  for (const [name, value] of Object.entries(fields)) {
    const scalar = ALLOWED.has(name) ? toScalar(value) : undefined
    if (scalar === undefined) leftOut.push(name)
    else kept[name] = scalar
  }
  if (leftOut.length > 0) kept['fields_left_out'] = cut(leftOut.join(' '))
  return kept
}

/** A value of another type is left out, whatever its name: an object can hold anything. */
const toScalar = (value: unknown): Scalar | undefined => {
  if (typeof value === 'string') return cut(value)
  return typeof value === 'number' || typeof value === 'boolean' ? value : undefined
}

const cut = (text: string): string =>
  text.length <= LIMITS.logTextCharsMax ? text : `${text.slice(0, LIMITS.logTextCharsMax)}…`
