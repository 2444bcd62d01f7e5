import { LIMITS } from '../../schemas/limits.ts'
import { toPage, toTable } from './markdown.ts'

/** `docs/LIMITS.md`: every bound of the service. */
export const toLimitsPage = (): string =>
  toPage('Limits', 'schemas/limits.ts', [
    'Every bound of the service is in one table. At a bound of a request the answer is an error that names the field or the ' +
      'rule (`INVALID_REQUEST`, `TOO_LARGE`); at a bound of a queue it is `OVERLOADED`; at a deadline, `TIMEOUT`.',
    toTable(
      ['limit', 'value', 'that is'],
      Object.entries(LIMITS).map(([name, value]) => [`\`${name}\``, String(value), toReadable(name, value)]),
    ),
  ])

interface Unit {
  readonly pattern: RegExp
  readonly steps: readonly (readonly [size: number, name: string])[]
}

const UNITS: readonly Unit[] = [
  {
    pattern: /Ms(Max|Min)?$/,
    steps: [
      [86_400_000, 'd'],
      [3_600_000, 'h'],
      [60_000, 'min'],
      [1_000, 's'],
    ],
  },
  {
    pattern: /Bytes(Max|Min)?$/,
    steps: [
      [1024 * 1024, 'MiB'],
      [1024, 'KiB'],
    ],
  },
]

/** A size or time in its largest whole unit; empty where the number says it all. */
const toReadable = (name: string, value: number): string => {
  const steps = UNITS.find(({ pattern }) => pattern.test(name))?.steps ?? []
  const step = steps.find(([size]) => value >= size && value % size === 0)
  return step === undefined ? '' : `${value / step[0]} ${step[1]}`
}
