"""The checks of Chapter 12: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from mvit_edu import check
from tests.check.answers import answer_tests


# 12.1
def times_read(n, k, s, p):
    ones = torch.ones(1, 1, n, requires_grad=True)
    F.conv1d(ones, torch.ones(1, 1, k), None, s, p).sum().backward()
    return ones.grad[0, 0].round().long()


def times_read_in_numpy(n, k, s, p):
    counts = np.zeros(n + 2 * p, int)
    for start in range(0, n + 2 * p - k + 1, s):
        counts[start : start + k] += 1
    return counts[p : p + n]


def without_padding(n, k, s, p):
    return times_read(n, k, s, 0).tolist()


def from_zero(n, k, s, p):
    counts = [0] * n
    for window in range((n + 2 * p - k) // s + 1):
        for place in range(window * s, window * s + k):
            if place < n:
                counts[place] += 1
    return counts


def with_padding_places(n, k, s, p):
    return times_read(n + 2 * p, k, s, 0).tolist()


def every_start(n, k, s, p):
    starts = range(-p, n + p, s)
    return [len([a for a in starts if 0 <= i - a < k]) for i in range(n)]


def one_window_less(n, k, s, p):
    starts = [w * s - p for w in range((n + 2 * p - k) // s + (1 if (n + 2 * p - k) % s else 0))]
    return [len([a for a in starts if 0 <= i - a < k]) for i in range(n)]


def too_long(n, k, s, p):
    starts = range(-p, n + p - k + 1, s)
    return [len([a for a in starts if a <= i <= a + k]) for i in range(n)]


def k_over_s(n, k, s, p):
    return [-(-k // s) for _ in range(n)]


# 12.2
def max_by_reshape(x, thw, s):
    (t, h, w), (a, b, c) = thw, s
    batch, _, dim = x.shape
    volume = x[:, 1:].reshape(batch, t // a, a, h // b, b, w // c, c, dim)
    volume = volume.max(6).values.max(4).values.max(2).values
    return torch.cat((x[:, 0:1], volume.reshape(batch, -1, dim)), 1)


def max_by_torch(x, thw, s):
    volume = x[:, 1:].transpose(1, 2).unflatten(2, thw)
    return torch.cat((x[:, :1], F.max_pool3d(volume, s, s).flatten(2).transpose(1, 2)), 1)


def strides_first(x, thw, s):
    (t, h, w), (a, b, c) = thw, s
    volume = x[:, 1:].reshape(len(x), a, t // a, b, h // b, c, w // c, -1)
    return torch.cat((x[:, :1], volume.amax((1, 3, 5)).flatten(1, 3)), 1)


def along_the_sequence(x, thw, s):
    windows = x[:, 1:].reshape(len(x), -1, s[0] * s[1] * s[2], x.shape[2])
    return torch.cat((x[:, :1], windows.amax(2)), 1)


def averaged(x, thw, s):
    volume = x[:, 1:].transpose(1, 2).unflatten(2, thw)
    return torch.cat((x[:, :1], F.avg_pool3d(volume, s, s).flatten(2).transpose(1, 2)), 1)


def corner(x, thw, s):
    volume = x[:, 1:].unflatten(1, thw)[:, :: s[0], :: s[1], :: s[2]]
    return torch.cat((x[:, :1], volume.flatten(1, 3)), 1)


def space_only(x, thw, s):
    return max_by_reshape(x, thw, (1, *s[1:]))


def no_class_token(x, thw, s):
    return max_by_reshape(x, thw, s)[:, 1:]


def wrong_end(x, thw, s):
    moved = torch.cat((x[:, :1], x[:, :-1]), 1)
    return max_by_reshape(moved, thw, s)


def class_token_of_all(x, thw, s):
    pooled = max_by_reshape(x, thw, s)
    return torch.cat((x.max(1, keepdim=True).values, pooled[:, 1:]), 1)


def writes_into_x(x, thw, s):
    x[:, 1:] = x[:, 1:].clamp(min=-100.0) + 0.0
    x[:, 1] += 1
    return max_by_reshape(x, thw, s)


# 12.3
KERNEL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def blurred_max(x, s):
    batch, channels, height, width = x.shape
    top = F.max_pool2d(x, 3, 1, 1).reshape(batch * channels, 1, height, width)
    blurred = F.conv2d(F.pad(top, (1, 1, 1, 1)), KERNEL[None, None])[..., ::s, ::s]
    return blurred.reshape(batch, channels, *blurred.shape[2:])


def blurred_in_two_steps(x, s):
    top = F.pad(F.max_pool2d(x, 3, 1, 1), (1, 1, 1, 1))
    rows = (top[..., :-2, :] + 2 * top[..., 1:-1, :] + top[..., 2:, :]) / 4
    return ((rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4)[..., ::s, ::s]


def depthwise(x, kernel, s, padding=1):
    return F.conv2d(x, kernel.expand(x.shape[1], 1, *kernel.shape), None, s, padding, groups=x.shape[1])


def maximum_with_stride(x, s):
    return depthwise(F.max_pool2d(x, 3, s, 1), KERNEL, 1)


def both_with_stride(x, s):
    return depthwise(F.max_pool2d(x, 3, s, 1), KERNEL, s)


def without_stride(x, s):
    return depthwise(F.max_pool2d(x, 3, 1, 1), KERNEL, 1)


def sixteen_times(x, s):
    return depthwise(F.max_pool2d(x, 3, 1, 1), 16 * KERNEL, s)


def blur_then_maximum(x, s):
    return F.max_pool2d(depthwise(x, KERNEL, 1), 3, s, 1)


def box_blur(x, s):
    return depthwise(F.max_pool2d(x, 3, 1, 1), torch.ones(3, 3) / 9, s)


def blur_alone(x, s):
    return depthwise(x, KERNEL, s)


def unpadded(x, s):
    return depthwise(F.max_pool2d(x, 3, 1, 1), KERNEL, s, padding=0)


def dense(x, s):
    kernel = KERNEL.repeat(x.shape[1], x.shape[1], 1, 1)
    return F.conv2d(F.max_pool2d(x, 3, 1, 1), kernel, stride=s, padding=1)


def rows_only(x, s):
    return depthwise(F.max_pool2d(x, 3, 1, 1), torch.tensor([[1.0, 2, 1]]) / 4, s, (0, 1))


# 12.4
def max_pool_backward(x, grad, k, s):
    result = torch.zeros_like(x)
    for b in range(len(x)):
        for w in range(grad.shape[1]):
            window = x[b, w * s : w * s + k].tolist()
            result[b, w * s + window.index(max(window))] += grad[b, w]
    return result


def by_index_put(x, grad, k, s):
    places = x.unfold(1, k, s).argmax(2) + torch.arange(0, s * grad.shape[1], s)
    rows = torch.arange(len(x))[:, None].expand_as(places)
    return torch.zeros_like(x).index_put((rows, places), grad, accumulate=True)


def by_loop(share):
    """An answer from share(window as a list) -> list of k weights."""

    def answer(x, grad, k, s):
        result = torch.zeros_like(x)
        for b in range(len(x)):
            for w in range(grad.shape[1]):
                weights = torch.tensor(share(x[b, w * s : w * s + k].tolist()), dtype=x.dtype)
                result[b, w * s : w * s + k] += weights * grad[b, w]
        return result

    return answer


def index_overwrites(x, grad, k, s):
    result = torch.zeros_like(x)
    for b in range(len(x)):
        for w in range(grad.shape[1]):
            window = x[b, w * s : w * s + k]
            result[b, w * s + int(window.argmax())] = grad[b, w]
    return result


def place_of_the_window_forgotten(x, grad, k, s):
    result = torch.zeros_like(x)
    for b in range(len(x)):
        for w in range(grad.shape[1]):
            result[b, int(x[b, w * s : w * s + k].argmax())] += grad[b, w]
    return result


def start_at_w_times_k(x, grad, k, s):
    windows = x.unfold(1, k, s)
    places = windows.argmax(-1) + torch.arange(0, k * windows.shape[1], k)
    return torch.zeros_like(x).scatter_add(1, places, grad)


all_equal = by_loop(lambda window: [float(value == max(window)) for value in window])
split_equal = by_loop(lambda window: [(value == max(window)) / window.count(max(window)) for value in window])
last_of_equal = by_loop(
    lambda window: [float(i == len(window) - 1 - window[::-1].index(max(window))) for i in range(len(window))]
)
average = by_loop(lambda window: [1 / len(window)] * len(window))
everyone = by_loop(lambda window: [1.0] * len(window))
absolute = by_loop(
    lambda window: [float(i == max(range(len(window)), key=lambda j: abs(window[j]))) for i in range(len(window))]
)


RIGHT = {
    "ex_12_1": (times_read, times_read_in_numpy),
    "ex_12_2": (max_by_reshape, max_by_torch),
    "ex_12_3": (blurred_max, blurred_in_two_steps),
    "ex_12_4": (max_pool_backward, by_index_put),
}
WRONG = [
    ("ex_12_1", without_padding, "left the padding out"),
    ("ex_12_1", from_zero, "Your windows start at 0"),
    ("ex_12_1", with_padding_places, "places of the padding, too"),
    ("ex_12_1", every_start, "stick out"),
    ("ex_12_1", one_window_less, "last window is missing"),
    ("ex_12_1", too_long, "one place too long"),
    ("ex_12_1", k_over_s, "Not every token is read equally often"),
    ("ex_12_2", strides_first, "stride before the number of windows"),
    ("ex_12_2", along_the_sequence, "neighbors in the sequence"),
    ("ex_12_2", averaged, "average of each window"),
    ("ex_12_2", corner, "one token of each window"),
    ("ex_12_2", space_only, "left time out"),
    ("ex_12_2", no_class_token, "class token is missing"),
    ("ex_12_2", wrong_end, "cut off the last token"),
    ("ex_12_2", class_token_of_all, "takes no part"),
    ("ex_12_3", maximum_with_stride, "The stride belongs to the blur"),
    ("ex_12_3", both_with_stride, "stride twice"),
    ("ex_12_3", without_stride, "every s-th place"),
    ("ex_12_3", sixteen_times, "do not sum to 1"),
    ("ex_12_3", blur_then_maximum, "blurred first"),
    ("ex_12_3", box_blur, "plain average"),
    ("ex_12_3", blur_alone, "maximum is missing"),
    ("ex_12_3", unpadded, "padding of 1"),
    ("ex_12_3", dense, "mixes the channels"),
    ("ex_12_3", rows_only, "along the rows only"),
    ("ex_12_4", index_overwrites, "They add up"),
    ("ex_12_4", place_of_the_window_forgotten, "place in the window as the place in the row"),
    ("ex_12_4", start_at_w_times_k, "not at w * k"),
    ("ex_12_4", all_equal, "you reward all"),
    ("ex_12_4", split_equal, "split the gradient"),
    ("ex_12_4", last_of_equal, "not the last"),
    ("ex_12_4", average, "backward pass of an average"),
    ("ex_12_4", everyone, "to every token"),
    ("ex_12_4", absolute, "largest absolute value"),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


def test_input_changed_in_place_is_reported():
    report = check.ex_12_2(writes_into_x)
    assert not report.ok
    assert "in place" in report.text
