/** The policies in plain words. One that is not listed here is offered all the same, under its own name. */

const POLICIES = {
  mean: ["Mean", "Everyone votes; the probabilities are averaged."],
  mean_logit: ["Logit mean", "Everyone votes; the logits are averaged."],
  nlc: ["Controller", "Everyone votes; a fitted controller weighs the votes for each picture."],
  cascade: ["Cascade", "The cheapest are asked first, the others only where that is not enough."],
  single: ["Single", "Only the chosen backbone is asked."],
};

export const policyName = (policy) => POLICIES[policy]?.[0] ?? policy;

/**
 * Those of a server's policies that can answer, in the order above. A cascade is calibrated for one label set: it needs
 * `details` of a set that has one, and those are null where labels are typed.
 */
export const offered = (policies, details) =>
  [...new Set([...Object.keys(POLICIES), ...policies])].filter(
    (policy) => policies.includes(policy) && (policy !== "cascade" || Boolean(details?.cascade?.applies)));

/** What answers where no policy is chosen: the best that was made for these labels, else what the server takes for any. */
export function usualPolicy(serverDefault, details) {
  if (details?.cascade?.applies) return "cascade";
  return details?.controller?.applies ? "nlc" : serverDefault;
}

/** What a choice means; the empty choice leaves it to the server, whose default is `usual`. */
export function policyHint(policy, usual) {
  if (policy) return POLICIES[policy]?.[1] ?? "";
  return usual ? `The server’s choice, usually: ${policyName(usual).toLowerCase()}.` : "The server’s choice.";
}
