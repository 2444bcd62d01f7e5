import { defineConfig } from 'vitest/config'

/**
 * Whose files get a process each: a PKCS#11 library has one state a process, and reads its configuration once. The others
 * share what they load, which is half of the time of the unit tests; their servers are processes of their own.
 */
const isolates: ReadonlySet<string> = new Set(['contract', 'integration'])

const project = (name: string, timeouts: { readonly testMs: number; readonly hookMs: number }) => ({
  extends: true as const,
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    isolate: isolates.has(name),
    testTimeout: timeouts.testMs,
    hookTimeout: timeouts.hookMs,
  },
})

const long = process.env['KMS_TEST_COUNTS'] === 'long' ? 20 : 1

/**
 * At most two processes at a time, since the machine that checks has two cores and each file of the outer suites starts
 * servers of its own.
 */
export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      project('unit', { testMs: 20_000 * long, hookMs: 20_000 }),
      project('contract', { testMs: 30_000 * long, hookMs: 60_000 }),
      project('integration', { testMs: 60_000 * long, hookMs: 60_000 }),
      project('e2e', { testMs: 180_000 * long, hookMs: 120_000 }),
    ],
  },
})
