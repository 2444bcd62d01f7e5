// Prints `N passed, N failed` from vitest's JSON report and exits 1 if anything failed.
// A run that failed without a failed test (crash, time limit, error outside a test) counts as one failure.
import { readFileSync } from 'node:fs'

const [reportFile, checksStatus, testsStatus] = process.argv.slice(2)
const checksFailed = checksStatus === '0' ? 0 : 1

const read = () => {
  try {
    const report = JSON.parse(readFileSync(reportFile, 'utf8'))
    // A file that cannot be loaded has no tests to fail.
    const broken = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0)
    return { passed: report.numPassedTests, failed: report.numFailedTests + broken.length }
  } catch {
    return { passed: 0, failed: 0 }
  }
}

const tests = read()
const unexplained = testsStatus !== '0' && tests.failed === 0 ? 1 : 0
const nothingRun = testsStatus === '0' && tests.passed === 0 ? 1 : 0
const passed = tests.passed + (1 - checksFailed)
const failed = tests.failed + checksFailed + unexplained + nothingRun
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
