import { must } from '../src/core/result.ts'

/**
 * Names in order of their bytes (they are ASCII), each once: an immutable value in chunks, so that one more name among a
 * million copies a few thousand references and not a million.
 */
export type SortedNames = readonly (readonly string[])[]

const CHUNK_NAMES_MAX = 512

export const NO_NAMES: SortedNames = []

/** With `name` in its place. It must not be there yet. */
export const insertName = (names: SortedNames, name: string): SortedNames => {
  if (names.length === 0) return [[name]]
  const at = findChunk(names, name)
  const chunk = names[at] ?? []
  const index = findIndex(chunk, name)
  must(chunk[index] !== name, `${name} is among the names already`)
  const grown = [...chunk.slice(0, index), name, ...chunk.slice(index)]
  const half = grown.length >> 1
  const chunks = grown.length <= CHUNK_NAMES_MAX ? [grown] : [grown.slice(0, half), grown.slice(half)]
  return [...names.slice(0, at), ...chunks, ...names.slice(at + 1)]
}

/** Without `name`, which must be there. */
export const removeName = (names: SortedNames, name: string): SortedNames => {
  const at = findChunk(names, name)
  const chunk = names[at] ?? []
  const rest = chunk.filter((other) => other !== name)
  must(rest.length < chunk.length, `${name} is not among the names`)
  return [...names.slice(0, at), ...(rest.length === 0 ? [] : [rest]), ...names.slice(at + 1)]
}

/** In order, from `first` on whether it is there or not. Lazy: a caller may stop early. */
export function* walkNames(names: SortedNames, first: string): Generator<string> {
  for (let at = findChunk(names, first); at < names.length; at += 1) {
    const chunk = names[at] ?? []
    for (let index = findIndex(chunk, first); index < chunk.length; index += 1) yield chunk[index] ?? ''
  }
}

export const countNames = (names: SortedNames): number => names.reduce((count, chunk) => count + chunk.length, 0)

/** The first of `count` places whose value is not below, given that all before are. */
const search = (count: number, isBelow: (at: number) => boolean): number => {
  let [low, high] = [0, count]
  while (low < high) {
    const middle = (low + high) >> 1
    if (isBelow(middle)) low = middle + 1
    else high = middle
  }
  return low
}

/** The chunk that has, or would get, the name: the last that does not begin after it. */
const findChunk = (names: SortedNames, name: string): number =>
  Math.max(0, search(names.length, (at) => (names[at]?.[0] ?? '') <= name) - 1)

const findIndex = (chunk: readonly string[], name: string): number =>
  search(chunk.length, (at) => (chunk[at] ?? '') < name)
