"""From an agent's plan to its learner."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import stepax as sx
from stepax import rl
from stepax.cli import optimizers
from stepax.cli.agents.environments import environment, place
from stepax.cli.agents.plan import AgentPlan
from stepax.learner import Learner, State
from stepax.typing import Array, Key, Tree

__all__ = ["BuiltAgent", "build", "like", "one_hot"]

# The number that keeps Adam's steps from growing where gradients vanish.
EPSILON = 1e-5

UPDATES = ("lanes", "length", "updates", "batch_size", "discount")
"""Settings that agents with a replay have in common, under the names that they have there."""


class BuiltAgent(NamedTuple):
    """An environment and who acts in it."""

    environment: rl.Environment
    learner: Learner


def build(plan: AgentPlan, demonstrations: Mapping[str, Any] | None = None) -> BuiltAgent:
    """The learner of a plan.

    Args:
        plan: The plan.
        demonstrations: What ``dqfd`` is shown. Without them it gets some in which nothing happens, as many as the plan
            says, to be overwritten when a saved state is restored.

    Raises:
        ValueError: They are none in the environment.
    """
    made = environment(plan.environment, plan.depth)
    if plan.demonstrations is None:
        return BuiltAgent(made, _averaged(plan, AGENTS[plan.name](plan, made)))
    try:
        learner = _dqfd(plan, made, demonstrations or _nothing_shown(made, plan.demonstrated))
    except (TypeError, ValueError) as error:
        raise ValueError(f"--demonstrations {plan.demonstrations}: {error}") from error
    return BuiltAgent(made, _averaged(plan, learner))


def _averaged(plan: AgentPlan, learner: Learner) -> Learner:
    """The learner, whose average of parameters plays, if there is to be one."""
    return sx.average(learner, plan.options["average"]) if plan.options.get("average") else learner


def _nothing_shown(made: rl.Environment, count: int) -> dict[str, np.ndarray]:
    seen, action = made.observation_space, made.action_space
    observation = np.zeros((count, *seen.shape), seen.dtype)
    return {
        "observation": observation,
        "action": np.zeros((count, *action.shape), action.dtype),
        "reward": np.zeros(count, np.float32),
        "terminated": np.ones(count, bool),
        "truncated": np.zeros(count, bool),
        "next_observation": observation,
    }


def like(built: BuiltAgent) -> State:
    """The structure, shapes and dtypes of the learner's state."""
    return jax.eval_shape(lambda key: built.learner.init(key, None), jax.random.key(0))


def one_hot(model: Any, count: int) -> sx.Model:
    """A model that sees observations that are counted as vectors, 1 at their place and 0 elsewhere.

    Args:
        model: A Linen module or a model.
        count: How many observations there are.
    """
    inner = sx.as_model(model)

    def init(key: Key, x: Array) -> tuple[Tree, Tree]:
        return inner.init(key, jax.nn.one_hot(x, count))

    def apply(params: Tree, variables: Tree, x: Array, *, train: bool, key: Key | None) -> tuple[Any, Tree]:
        return inner.apply(params, variables, jax.nn.one_hot(x, count), train=train, key=key)

    return sx.Model(init, apply)


def _seen(plan: AgentPlan, environment: rl.Environment, network: Any) -> Any:
    """The network with the observations as it takes them."""
    space = environment.observation_space
    if isinstance(space, rl.Discrete):
        return one_hot(network, space.n)
    return rl.normalized(network) if plan.options.get("normalize") == "yes" else network


def _steps(plan: AgentPlan) -> int:
    return plan.rounds * plan.epochs


def _optimizer(plan: AgentPlan, updates: int) -> optax.GradientTransformation:
    """Adam with so many updates in all, of gradients that are not too long."""
    options = plan.options
    rate = optimizers.schedule(options["schedule"], options["learning_rate"], updates, 0.0)
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=rate, eps=EPSILON)
    return optax.chain(optax.clip_by_global_norm(options["max_norm"]), adam)


def _actor_critic(plan: AgentPlan, environment: rl.Environment) -> Any:
    space, features = environment.action_space, plan.options["dense"]
    if isinstance(space, rl.Discrete):
        actor: Any = rl.CategoricalPolicy(space.n, features)
    else:
        actor = rl.NormalPolicy(int(np.prod(space.shape)), features, log_std=plan.options["log_std"])
    return _seen(plan, environment, rl.ActorCritic(actor, rl.Value(features)))


def _judged(plan: AgentPlan) -> dict[str, Any]:
    """What agents with a critic have in common."""
    options = plan.options
    names = {"lanes": "lanes", "discount": "discount", "value_weight": "value_weight", "entropy": "entropy_weight"}
    return {theirs: options[ours] for ours, theirs in names.items()} | _ends(plan)


def _ends(plan: AgentPlan) -> dict[str, Any]:
    """How far episodes are followed that are played to measure."""
    return {"evaluation_steps": place(plan.environment, plan.depth).limit}


def _ppo(plan: AgentPlan, environment: rl.Environment) -> Learner:
    options = plan.options
    minibatches = plan.made // options["batch_size"]
    clip = optimizers.SCHEDULES[options["schedule"]](options["clip"], _steps(plan))
    return rl.ppo(
        environment,
        _actor_critic(plan, environment),
        _optimizer(plan, _steps(plan) * options["passes"] * minibatches),
        length=options["length"],
        epochs=options["passes"],
        minibatches=minibatches,
        trace=options["trace"],
        clip=clip,
        normalize_rewards=options["normalize_rewards"],
        **_judged(plan),
    )


def _a2c(plan: AgentPlan, environment: rl.Environment) -> Learner:
    own = {name: plan.options[name] for name in ("length", "trace", "normalize_rewards")}
    network, optimizer = _actor_critic(plan, environment), _optimizer(plan, _steps(plan))
    return rl.a2c(environment, network, optimizer, **own, **_judged(plan))


def _reinforce(plan: AgentPlan, environment: rl.Environment) -> Learner:
    network, optimizer = _actor_critic(plan, environment), _optimizer(plan, _steps(plan))
    length = place(plan.environment, plan.depth).limit
    return rl.reinforce(environment, network, optimizer, length=length, **_judged(plan))


def _values(plan: AgentPlan, environment: rl.Environment) -> Any:
    """A network of action values."""
    space: Any = environment.action_space
    network = rl.Dueling if plan.options["dueling"] else rl.ActionValues
    return _seen(plan, environment, network(space.n, plan.options["dense"]))


def _falling(options: Mapping[str, Any], steps: int) -> Any:
    """ε, from 1 along a line in a share of all steps, and then as it is; without a share always the same."""
    falls = round(options["exploration"] * steps)
    return optax.linear_schedule(1.0, options["epsilon"], falls) if falls else options["epsilon"]


def _follow(options: Mapping[str, Any]) -> Any:
    follow = options["follow"]
    return rl.gradual(follow) if follow < 1 else rl.periodic(int(follow))


def _dqn(plan: AgentPlan, environment: rl.Environment) -> Learner:
    options, steps = plan.options, _steps(plan)
    kept = options["capacity"]
    replay = rl.prioritised(kept, exponent=options["priority"]) if options["priority"] else rl.uniform(kept)
    if options["ahead"] > 1:
        replay = rl.n_step(replay, options["ahead"], options["discount"], lanes=options["lanes"])
    warmup = -(-max(options["warmup"], options["batch_size"]) // plan.made)
    own: dict[str, Any] = {name: options[name] for name in UPDATES}
    return rl.dqn(
        environment,
        _values(plan, environment),
        _optimizer(plan, max(1, steps - warmup) * options["updates"]),
        replay=replay,
        bootstrap=rl.double if options["double"] else rl.maximum,
        follow=_follow(options),
        epsilon=_falling(options, steps),
        warmup=warmup,
        **own,
        **_ends(plan),
    )


def _dqfd(plan: AgentPlan, environment: rl.Environment, demonstrations: Mapping[str, Any]) -> Learner:
    options, steps = plan.options, _steps(plan)
    losses = ("pretraining", "several", "imitation", "margin", "decay")
    own: dict[str, Any] = {name: options[name] for name in (*UPDATES, "capacity", "epsilon", *losses)}
    return rl.dqfd(
        environment,
        _values(plan, environment),
        _optimizer(plan, steps * options["updates"]),
        demonstrations,
        steps=options["ahead"],
        bootstrap=rl.double if options["double"] else rl.maximum,
        follow=_follow(options),
        **own,
        **_ends(plan),
    )


def _table(rule: Callable[..., Learner]) -> Callable[[AgentPlan, rl.Environment], Learner]:
    """An agent that keeps a table."""

    def make(plan: AgentPlan, environment: rl.Environment) -> Learner:
        options, steps = plan.options, _steps(plan)
        rate = optimizers.schedule(options["schedule"], options["learning_rate"], steps, 0.0)
        own = {name: options[name] for name in ("lanes", "length", "discount")}
        return rule(environment, rate=rate, epsilon=_falling(options, steps), **own, **_ends(plan))

    return make


AGENTS: dict[str, Callable[[AgentPlan, rl.Environment], Learner]] = {
    "ppo": _ppo,
    "a2c": _a2c,
    "reinforce": _reinforce,
    "dqn": _dqn,
    "q-learning": _table(rl.q_learning),
    "sarsa": _table(rl.sarsa),
    "expected-sarsa": _table(rl.expected_sarsa),
}
"""How each is made."""
