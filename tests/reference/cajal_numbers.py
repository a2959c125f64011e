"""Numbers that remember where they come from, for the derivatives of the second reading: a Num has a value and its parents with the partial
derivative by each. Plain numbers are constants. Arithmetic is IEEE's on floats and exact on integers."""
import math

INF, NAN = math.inf, math.nan


class Num:
    __slots__ = ("value", "parents")

    def __init__(self, value, parents=()):
        self.value, self.parents = value, parents


def val(x):
    return x.value if isinstance(x, Num) else x


def made(value, *parents):
    parents = [(x, d) for x, d in parents if isinstance(x, Num)]
    return Num(value, parents) if parents else value


def add(a, b):
    return made(val(a) + val(b), (a, 1), (b, 1))


def sub(a, b):
    return made(val(a) - val(b), (a, 1), (b, -1))


def neg(a):
    return made(-val(a), (a, -1))


def mul(a, b):
    return made(val(a) * val(b), (a, val(b)), (b, val(a)))


def quotient(a, b):
    if b != 0:
        return a / b
    return NAN if a == 0 or a != a else math.copysign(INF, a) * math.copysign(1, b)


def div(a, b):
    x, y = val(a), val(b)
    q = quotient(x, y)
    return made(q, (a, quotient(1, y)), (b, -quotient(q, y)))


def total(xs):
    out = 0
    for x in xs:
        out = add(out, x)
    return out


def least(a, b):
    return b if val(b) < val(a) else a


def greatest(a, b):
    return b if val(b) > val(a) else a


def exp(x):
    try:
        return math.exp(x)
    except OverflowError:
        return INF


def log(x):
    return math.log(x) if x > 0 else -INF if x == 0 else NAN


def sigmoid(x):
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x)) if x < 0 else NAN


def root(x):
    return math.sqrt(x) if x >= 0 else NAN


def wave(f):
    return lambda x: f(x) if math.isfinite(x) else NAN


# (the function, its derivative from argument and value)
FUNCTIONS = {
    "exp": (exp, lambda x, y: y), "log": (log, lambda x, y: quotient(1, x)), "tanh": (math.tanh, lambda x, y: 1 - y * y),
    "sigmoid": (sigmoid, lambda x, y: y * (1 - y)), "relu": (lambda x: x if x > 0 or x != x else 0, lambda x, y: 1 if x > 0 else 0),
    "softplus": (lambda x: max(x, 0) + math.log1p(exp(-abs(x))), lambda x, y: sigmoid(x)),
    "sqrt": (root, lambda x, y: quotient(0.5, y)), "sin": (wave(math.sin), lambda x, y: wave(math.cos)(x)),
    "cos": (wave(math.cos), lambda x, y: -wave(math.sin)(x)), "abs": (abs, lambda x, y: (x > 0) - (x < 0)),
}


def function(name, x):
    f, derivative = FUNCTIONS[name]
    y = f(val(x))
    return made(y, (x, derivative(val(x), y))) if isinstance(x, Num) else y


def ordered(outputs):
    """All numbers on the way to the outputs, parents first."""
    order, seen = [], set()
    for output in outputs:
        stack = [(output, False)] if isinstance(output, Num) else []
        while stack:
            x, done = stack.pop()
            if done:
                order.append(x)
            elif id(x) not in seen:
                seen.add(id(x))
                stack.append((x, True))
                stack.extend((parent, False) for parent, _ in x.parents if id(parent) not in seen)
    return order


def backward(outputs, cotangents, inputs):
    """Σ cotangentᵢ · d outputᵢ by each of the inputs."""
    weight = {}
    for output, cotangent in zip(outputs, cotangents):
        weight[id(output)] = weight.get(id(output), 0) + cotangent
    for x in reversed(ordered(outputs)):
        own = weight.get(id(x), 0)
        if own != 0:
            for parent, d in x.parents:
                weight[id(parent)] = weight.get(id(parent), 0) + own * d
    return [weight.get(id(x), 0) for x in inputs]


def forward(outputs, tangents, inputs):
    """The derivative of each output along the tangents."""
    speed = {id(x): tangent for x, tangent in zip(inputs, tangents)}
    for x in ordered(outputs):
        if x.parents:
            speed[id(x)] = sum(speed.get(id(parent), 0) * d for parent, d in x.parents)
    return [speed.get(id(x), 0) if isinstance(x, Num) else 0 for x in outputs]
