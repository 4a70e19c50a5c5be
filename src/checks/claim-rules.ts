import { Denial } from '../decision/denials.js'
import { certificateValues } from '../policy/certificate-patterns.js'
import { type ClaimRule, type Resolve, ruleHolds, ruleInWords } from '../policy/claim-rules.js'
import type { Case, Check } from './case.js'

/** The claims of the token are those that the route's rules want; they tie a token to the object in the path. */
function claimsSatisfyRules(subject: Case): Denial | null {
  const rule = concerned(subject).find(rule => !ruleHolds(rule, subject.token.claims, resolveIn(subject)))
  if (rule === undefined) return null
  return new Denial(
    'claim_mismatch',
    `not so: ${ruleInWords(rule)}`,
    rule.otherwise === 404 ? { answeredAs: 'route_unknown' } : {},
  )
}

function concerned({ rule, token }: Case): readonly ClaimRule[] {
  return rule.claims.filter(
    ({ appliesTo }) => appliesTo === null || appliesTo.some(flow => flow === token.flow),
  )
}

/** What the operands of a rule stand for in this very request. */
function resolveIn({ match, token, certificate }: Case): Resolve {
  return operand => {
    switch (operand.from) {
      case 'policy':
        return [operand.value]
      case 'path':
        // The path is canonical: its escapes are valid UTF-8 and hold no separator, so that decoding cannot fail or reach further.
        return Object.hasOwn(match.parameters, operand.parameter)
          ? [decodeURIComponent(match.parameters[operand.parameter] as string)]
          : []
      case 'certificate':
        // A certificate that does not count is no fact.
        return certificate === null || certificate instanceof Denial
          ? []
          : certificateValues(certificate, operand.field)
      case 'client':
        return token.clientId === null ? [] : [token.clientId]
    }
  }
}

export const claimRules: Check = {
  name: 'claim-rules',
  judge: claimsSatisfyRules,
  fact: subject => concerned(subject).map(ruleInWords).join('; ') || 'none for this token',
}
