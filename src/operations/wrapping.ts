import type { KeySpecName, WrappingAlgorithmName } from '../../schemas/keys.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { mayWrap, WRAPPING_SCHEMES } from '../core/wrapping.ts'
import type { Facts } from './operation.ts'

/**
 * The algorithm by which material of this spec goes in or out of a backend: the one that was asked for, or the strongest
 * it offers. UNSUPPORTED_BY_HSM names what there is; nothing weaker is ever taken for what was asked.
 */
export const findWrapping = (
  facts: Facts,
  backend: string,
  wanted: { readonly spec: KeySpecName; readonly algorithm: WrappingAlgorithmName | undefined },
): Result<WrappingAlgorithmName> => {
  const support = facts.wrapping(backend)
  if (support === undefined) return fail('HSM_UNAVAILABLE', 'the HSM backend has not answered yet')
  const { spec, algorithm } = wanted
  const offered = support.algorithms.filter((one) => mayWrap(support, spec, one))
  const found = algorithm === undefined ? offered[0] : offered.find((one) => one === algorithm)
  if (found !== undefined) return ok(found)
  return offered.length === 0
    ? fail('UNSUPPORTED_BY_HSM', `the HSM backend can neither take in nor give out ${spec} keys`)
    : fail('UNSUPPORTED_BY_HSM', `wrapping_algorithm: for ${spec} the HSM backend has ${offered.join(', ')}`)
}

/** What a caller is told of an algorithm, for the reply. */
export const toWrappingWarnings = (algorithm: WrappingAlgorithmName): { readonly warnings?: string[] } =>
  WRAPPING_SCHEMES[algorithm].hash === 'sha1'
    ? { warnings: [`${algorithm}: RSA-OAEP is made with SHA-1 here, since this is all that the HSM backend has`] }
    : {}
