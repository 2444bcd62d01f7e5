import { destroyDue } from './destruction.ts'
import type { Duty } from './duty.ts'
import { endImports } from './importsDue.ts'
import { rotateDue, warnOfBudget } from './rotationDue.ts'
import { expireRotationJobs } from './rotationJobs.ts'

/** Everything the writer does of its own accord. */
export const DUTIES: readonly Duty[] = [destroyDue, rotateDue, warnOfBudget, expireRotationJobs, endImports]
