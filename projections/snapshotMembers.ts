import { Map as ImmutableMap, Set as ImmutableSet, List } from 'immutable'
import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'

/** How one part of a view becomes rows, each a value that MessagePack has a form for, and becomes itself again. */
export interface MemberCodec<S> {
  /** Lazy: a large part must not stop the event loop. The order is that of the part, so the same value gives the same rows. */
  toRows(part: S): Iterable<unknown>
  start(): MemberReader<S>
}

/** Takes the rows in their order. */
export interface MemberReader<S> {
  /** False: this is no row of this part; then all of it is of no use. The row is kept, not copied. */
  take(row: unknown): boolean
  /** The part; nothing if rows are missing. */
  finish(): S | undefined
}

/** Compiled at first use. */
const toCheck = <T extends TSchema>(schema: T): ((value: unknown) => value is Static<T>) => {
  let compiled: { Check(value: unknown): boolean } | undefined
  return (value): value is Static<T> => {
    compiled ??= Compile(schema)
    return compiled.Check(value)
  }
}

const isPair = (row: unknown): row is readonly [unknown, unknown] => Array.isArray(row) && row.length === 2

/** One row: the value itself. */
export const single = <T extends TSchema>(schema: T): MemberCodec<Static<T>> => {
  const isValue = toCheck(schema)
  return {
    toRows: (value) => [value],
    start: () => {
      let found: Static<T> | undefined
      return {
        take(row) {
          if (found !== undefined || !isValue(row)) return false
          found = row
          return true
        },
        finish: () => found,
      }
    },
  }
}

/** A row for each value; `build` makes the collection. */
const manyOf = <T extends TSchema, S extends Iterable<Static<T>>>(
  schema: T,
  build: (values: readonly Static<T>[]) => S,
): MemberCodec<S> => {
  const isValue = toCheck(schema)
  return {
    toRows: (values) => values,
    start: () => {
      const values: Static<T>[] = []
      return {
        take(row) {
          if (!isValue(row)) return false
          values.push(row)
          return true
        },
        finish: () => build(values),
      }
    },
  }
}

export const listOf = <T extends TSchema>(schema: T): MemberCodec<List<Static<T>>> =>
  manyOf(schema, (values) => List(values))

export const setOf = <T extends TSchema>(schema: T): MemberCodec<ImmutableSet<Static<T>>> =>
  manyOf(schema, (values) => ImmutableSet(values))

export const arrayOf = <T extends TSchema>(schema: T): MemberCodec<readonly Static<T>[]> =>
  manyOf<T, readonly Static<T>[]>(schema, (values) => values)

/** A row `[key, value]` for each entry. */
export const mapOf = <K extends TSchema, V extends TSchema>(
  keySchema: K,
  valueSchema: V,
): MemberCodec<ImmutableMap<Static<K>, Static<V>>> => {
  const [isKey, isValue] = [toCheck(keySchema), toCheck(valueSchema)]
  return {
    toRows: (entries) => entries,
    start: () => {
      const found = ImmutableMap<Static<K>, Static<V>>().asMutable()
      return {
        take(row) {
          if (!isPair(row) || !isKey(row[0]) || !isValue(row[1])) return false
          found.set(row[0], row[1])
          return true
        },
        finish: () => found.asImmutable(),
      }
    },
  }
}

/** A row `[key, value]` for each value of each entry's collection, which is never empty. */
const groupsOf = <K extends TSchema, V extends TSchema, C extends Iterable<Static<V>>>(
  { key, value }: { readonly key: K; readonly value: V },
  build: (values: readonly Static<V>[]) => C,
): MemberCodec<ImmutableMap<Static<K>, C>> => {
  const [isKey, isValue] = [toCheck(key), toCheck(value)]
  return {
    *toRows(entries) {
      for (const [name, values] of entries) for (const each of values) yield [name, each]
    },
    start: () => {
      const found = new Map<Static<K>, Static<V>[]>()
      return {
        take(row) {
          if (!isPair(row) || !isKey(row[0]) || !isValue(row[1])) return false
          const group = found.get(row[0])
          if (group === undefined) found.set(row[0], [row[1]])
          else group.push(row[1])
          return true
        },
        finish: () => ImmutableMap([...found].map(([name, values]) => [name, build(values)] as const)),
      }
    },
  }
}

export const setsOf = <K extends TSchema, V extends TSchema>(key: K, value: V) =>
  groupsOf({ key, value }, (values) => ImmutableSet(values))

export const listsOf = <K extends TSchema, V extends TSchema>(key: K, value: V) =>
  groupsOf({ key, value }, (values) => List(values))

/** A row `[index of the member, its row]` for each row of each member. */
export const structOf = <S extends object>(
  members: {
    readonly [M in keyof S]-?: MemberCodec<S[M]>
  },
): MemberCodec<S> => {
  const codecs: readonly (readonly [string, MemberCodec<unknown>])[] = Object.entries(members)
  const isWhole = (found: ReadonlyMap<string, unknown>, _made: unknown): _made is S =>
    codecs.every(([name]) => found.get(name) !== undefined)
  return {
    *toRows(part) {
      const parts = new Map<string, unknown>(Object.entries(part))
      for (const [index, [name, codec]] of codecs.entries())
        for (const row of codec.toRows(parts.get(name))) yield [index, row]
    },
    start: () => {
      const readers = codecs.map(([name, codec]) => ({ name, reader: codec.start() }))
      return {
        take: (row) => isPair(row) && typeof row[0] === 'number' && (readers[row[0]]?.reader.take(row[1]) ?? false),
        finish() {
          const found = new Map(readers.map(({ name, reader }) => [name, reader.finish()] as const))
          const made: unknown = Object.fromEntries(found)
          return isWhole(found, made) ? made : undefined
        },
      }
    },
  }
}
