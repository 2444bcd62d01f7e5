import Type, { type Static, type TProperties, type TSchema } from 'typebox'
import type { ErrorCode } from './errors.ts'
import { Fields, Receipt } from './primitives.ts'

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'DELETE'

/** One REST route. `:id` in a path is the field `key_id`; other `:name` segments are the field of that name. */
export interface Route {
  readonly method: HttpMethod
  readonly path: string
  readonly status: 200 | 201
}

/**
 * What may be asked: the single source from which the NATS subject, REST route, OpenAPI, client method, CLI verb and
 * contract tests derive. `effect` says what an operation may do: `change` the state of a key (serialized per key),
 * `use` key material, or `read`.
 */
export interface Contract<Req extends TSchema = TSchema, Rep extends TSchema = TSchema> {
  readonly name: string
  readonly summary: string
  readonly effect: 'change' | 'use' | 'read'
  readonly request: Req
  readonly reply: Rep
  /** The first is canonical; the rest are other spellings of the same operation. */
  readonly routes: readonly [Route, ...Route[]]
  /** Whether an `Idempotency-Key` is accepted; otherwise the header is INVALID_REQUEST. */
  readonly idempotent: boolean
  /** Codes beyond those every operation can answer with (see {@link COMMON_CODES}). */
  readonly codes: readonly ErrorCode[]
  /** A request that works on a fresh service once `key_id` is that of a fitting key; shown in help and OpenAPI. */
  readonly example: { readonly request: Readonly<Record<string, unknown>> }
}

/** The codes any operation can answer with. */
export const COMMON_CODES = [
  'INVALID_REQUEST',
  'UNAUTHENTICATED',
  'ACCESS_DENIED',
  'TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'RATE_LIMITED',
  'CANCELLED',
  'INTERNAL',
  'PDP_UNAVAILABLE',
  'LEDGER_UNAVAILABLE',
  'OVERLOADED',
  'TIMEOUT',
] as const satisfies readonly ErrorCode[]

/** A reply body: the given fields and the receipt that every reply carries. */
export const Reply = <P extends TProperties>(properties: P) => Fields({ ...properties, receipt: Receipt })

/** Declares a contract; exists for type inference only. */
export const contract = <
  const N extends string,
  const E extends Contract['effect'],
  Req extends TSchema,
  Rep extends TSchema,
>(
  declared: Contract<Req, Rep> & { readonly name: N; readonly effect: E },
): Contract<Req, Rep> & { readonly name: N; readonly effect: E } => declared

export type RequestOf<C extends Contract> = Static<C['request']>
export type ReplyOf<C extends Contract> = Static<C['reply']>

/** `CreateKey` → `create-key`: the NATS endpoint and the CLI verb. */
export const toKebab = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase()

/** `CreateKey` → `kms.v1.create-key`. */
export const toSubject = (name: string): string => `kms.v1.${toKebab(name)}`

/** An empty request or list filter. */
export const Empty = Type.Object({}, { additionalProperties: false })
