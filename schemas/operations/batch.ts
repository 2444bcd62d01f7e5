import Type from 'typebox'
import { type Contract, contract, Reply, type ReplyOf, type RequestOf } from '../contract.ts'
import { ERRORS } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { VARIANTS_MARK } from '../marks.ts'
import { Fields, OneOf } from '../primitives.ts'

type Table = Readonly<Record<string, Contract>>

/** The operations of a table that a batch may hold: those that use key material. */
type UseOf<C extends Table> = {
  [N in keyof C]: C[N] extends { readonly effect: 'use' } ? N : never
}[keyof C]

type ItemOf<C extends Table> = {
  [N in UseOf<C>]: { readonly operation: N; readonly request: RequestOf<C[N]> }
}[UseOf<C>]

type OutcomeOf<C extends Table> =
  | { [N in UseOf<C>]: { readonly ok: true; readonly operation: N; readonly reply: ReplyOf<C[N]> } }[UseOf<C>]
  | { readonly ok: false; readonly error: ItemError }

/** Why one item of a batch has no reply. */
export interface ItemError {
  readonly code: keyof typeof ERRORS
  readonly message: string
  readonly retryable: boolean
}

const ItemFailure = Fields({
  ok: Type.Literal(false),
  error: Fields({
    code: OneOf(Object.keys(ERRORS)),
    message: Type.String({ description: 'Names the field and the rule' }),
    retryable: Type.Boolean({ description: 'Whether the same item may succeed later' }),
  }),
})

/**
 * The contract of `Batch`, made of those that it may hold. An item is a variant by its operation; the schema lets any
 * operation and request through, since an item that breaks its own contract must not spoil the others.
 */
export const createBatch = <C extends Table>(contracts: C) => {
  const uses = Object.values(contracts).filter(({ effect }) => effect === 'use')
  const names = uses.map(({ name }) => name).join(', ')
  const item = Type.Unsafe<ItemOf<C>>({
    type: 'object',
    required: ['operation', 'request'],
    additionalProperties: false,
    properties: {
      operation: { type: 'string', minLength: 1, maxLength: 64 },
      request: { type: 'object', maxProperties: LIMITS.batchItemFieldsMax },
    },
    [VARIANTS_MARK]: uses.map(({ name, request }) => Fields({ operation: Type.Literal(name), request })),
  })
  const outcome = Type.Unsafe<OutcomeOf<C>>(
    Type.Union([
      ...uses.map(({ name, reply }) => Fields({ ok: Type.Literal(true), operation: Type.Literal(name), reply })),
      ItemFailure,
    ]),
  )
  return contract({
    name: 'Batch',
    summary: 'Carries out many uses of keys in one request, each decided and recorded on its own',
    effect: 'use',
    idempotent: false,
    routes: [{ method: 'POST', path: '/batch', status: 200 }],
    request: Fields({
      operations: Type.Array(item, {
        minItems: 1,
        maxItems: LIMITS.batchItemsMax,
        description: `{operation, request} each, at most ${LIMITS.batchItemsMax}; operation is one of ${names}`,
      }),
    }),
    reply: Reply({
      results: Type.Array(outcome, {
        maxItems: LIMITS.batchItemsMax,
        description: 'In the order of the request: {ok: true, operation, reply} or {ok: false, error}',
      }),
    }),
    codes: [],
    example: {
      request: {
        operations: [
          { operation: 'GenerateRandom', request: { number_of_bytes: 16 } },
          { operation: 'GenerateRandom', request: { number_of_bytes: 32 } },
        ],
      },
    },
  })
}
