"""Operations by hand, and a chart on which every network can be read."""

import io

import pytest
import torch
from PIL import Image
from torch import nn

from reidentify import InputError
from reidentify.report import cost
from reidentify.report.charts import LIGHT
from reidentify.report.cost import Cost, chart, flops


def test_operations_by_hand() -> None:
    """Two for each multiply-add: of a product, a convolution and a recurrent layer."""
    assert flops(nn.Linear(5, 7), torch.zeros(3, 5)) == 2 * 3 * 5 * 7
    convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1)
    assert flops(convolution, torch.zeros(2, 3, 8, 4)) == 2 * (2 * 4 * 2) * 8 * (3 * 9)
    assert flops(nn.Conv3d(2, 4, (3, 1, 1), padding=(1, 0, 0)), torch.zeros(1, 2, 5, 3, 3)) == 2 * 5 * 9 * 4 * 6
    recurrent = nn.LSTM(5, 7, batch_first=True)  # four gates read the input and the state at each of six steps
    assert flops(recurrent, torch.zeros(2, 6, 5)) == 2 * 2 * 6 * 4 * 7 * (5 + 7)
    assert flops(nn.GRU(5, 7, batch_first=True), torch.zeros(2, 6, 5)) == 2 * 2 * 6 * 3 * 7 * (5 + 7)


def test_names_on_the_chart_cover_neither_points_nor_one_another(monkeypatch) -> None:
    kept = []
    real = cost.to_png

    def png(figure):
        kept.append(figure)
        return real(figure)

    monkeypatch.setattr(cost, "to_png", png)
    costs = [Cost(f"network {i}", 0.7 + 0.003 * (i % 3), 4 + 0.1 * i, 50 + i) for i in range(6)]
    costs.append(Cost("a large network", 0.72, 40, 600))
    image = Image.open(io.BytesIO(chart(costs, 8, LIGHT)))
    image.load()
    (figure,) = kept
    for axes, attribute in zip(figure.axes, ("gflops", "milliseconds")):
        labels = {t.get_text(): t.get_window_extent() for t in axes.texts if t.get_text()}
        assert set(labels) == {c.name for c in costs}
        spots = axes.transData.transform([(getattr(c, attribute), 100 * c.mAP) for c in costs])
        boxes = list(labels.values())
        for i, box in enumerate(boxes):
            assert not any(box.contains(*spot) for spot in spots)
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert box.x0 >= axes.get_window_extent().x0
            assert box.x1 <= axes.get_window_extent().x1
    assert "tracklets of 8 frames" in figure.get_suptitle()


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no network to draw"):
        chart([], 8, LIGHT)
