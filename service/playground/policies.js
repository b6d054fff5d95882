/** The policies in plain words. One that is not listed here is offered all the same, under its own name. */

const POLICIES = {
  mean: ["Mean", "Everyone votes; the probabilities are averaged."],
  mean_logit: ["Logit mean", "Everyone votes; the logits are averaged."],
  nlc: ["Controller", "Everyone votes; a fitted controller weighs the votes for each picture."],
  cascade: ["Cascade", "The cheapest are asked first, the others only where that is not enough."],
  single: ["Single", "Only the chosen backbone is asked."],
};

export const policyName = (policy) => POLICIES[policy]?.[0] ?? policy;

/** Those that a server has, in the order above. */
export const ordered = (policies) =>
  [...new Set([...Object.keys(POLICIES), ...policies])].filter((policy) => policies.includes(policy));

/** What a choice means; the empty choice leaves it to the server, whose default is `usual`. */
export function policyHint(policy, usual) {
  if (policy) return POLICIES[policy]?.[1] ?? "";
  return usual ? `The server’s choice, usually: ${policyName(usual).toLowerCase()}.` : "The server’s choice.";
}
