"""The temperature a backbone is exported with."""

from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split
from training.evaluate.embedder import Embedder
from training.evaluate.tasks import labelled_tasks
from training.evaluate.zero_shot import temperature_on
from training.export.backbone import Backbone, BackboneGraphs, TemperatureFitter
from training.export.errors import ExportError
from training.export.graph import open_session


def temperature_fitter(data_dir: DataDirs) -> TemperatureFitter:
    """A function that fits a backbone's temperature, as it will be served, on labelled rows of `data_dir`.

    On the `fit` split of the sources that are not reserved: a zoo that had been tuned on these could not be tested on
    them. A variant's on the `calibrate` split of the sources that its adapter was fitted to, where they have labels: it
    is for these, and has seen their `fit` rows.
    Raises `ExportError` if there is no labelled `fit` row of a source that is not reserved.
    """
    rows = list(read_rows(data_dir, available_sources(data_dir)))
    usual = [task for task in labelled_tasks(rows, Split.FIT) if task.novelty != "unseen source"]
    held_out = labelled_tasks(rows, Split.CALIBRATE)
    if not usual:
        raise ExportError("There is no labelled row of a source that is not reserved: nothing to fit a temperature on.")

    def fit(backbone: Backbone, graphs: BackboneGraphs) -> float:
        own = [task for task in held_out if task.source in backbone.adapted_to]
        embedder = Embedder(
            image=open_session(graphs.image.model), text=open_session(graphs.text.model), tokenizer=backbone.tokenizer
        )
        return temperature_on(embedder, backbone.preprocessing, own or usual, logit_scale=backbone.logit_scale)

    return fit
