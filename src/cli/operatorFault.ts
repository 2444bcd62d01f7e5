/** What an operator has to mend; `message` names the field or variable and the rule. */
export interface OperatorFault {
  readonly message: string
}

/** An {@link OperatorFault} as a Result. */
export const fault = (message: string): { readonly ok: false; readonly error: OperatorFault } => ({
  ok: false,
  error: { message },
})
