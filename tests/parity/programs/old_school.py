import math

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.data as data
from torch.nn import Parameter
from torch.nn.parameter import Parameter as SameParameter
from torch.utils.data.sampler import SubsetRandomSampler
from tests.parity.seeded import fill, floats, integers

results = {"same": Parameter is SameParameter}
FloatTensor = torch.cuda.FloatTensor if torch.cuda.is_available() else torch.FloatTensor


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super(GraphConvolution, self).__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(torch.FloatTensor(in_features, out_features))
        if bias:
            self.bias = Parameter(torch.Tensor(out_features))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        stdv = 1.0 / math.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-stdv, stdv)
        if self.bias is not None:
            self.bias.data.uniform_(-stdv, stdv)

    def forward(self, input, adj):
        support = torch.mm(input, self.weight)
        output = torch.mm(adj, support)
        return output + self.bias if self.bias is not None else output

    def __repr__(self):
        return (
            self.__class__.__name__
            + " ("
            + str(self.in_features)
            + " -> "
            + str(self.out_features)
            + ")"
        )


class GCN(nn.Module):
    def __init__(self, nfeat, nhid, nclass, dropout):
        super(GCN, self).__init__()
        self.gc1 = GraphConvolution(nfeat, nhid)
        self.gc2 = GraphConvolution(nhid, nclass, bias=False)
        self.dropout = dropout

    def forward(self, x, adj):
        x = F.relu(self.gc1(x, adj))
        x = F.dropout(x, self.dropout, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=1)


n = 12
adj = (FloatTensor(floats(0, n, n)) > 0.5).float()
adj = ((adj + adj.t() + torch.eye(n)) > 0).type(torch.FloatTensor)
rowsum = adj.sum(1)
d = torch.diag(rowsum.pow(-0.5))
adj = d.mm(adj).mm(d)
features, labels = FloatTensor(floats(1, n, 5)), torch.LongTensor(integers(2, 3, n))
model = GCN(5, 8, 3, dropout=0.0)
bound = 1 / math.sqrt(8)
results["initial"] = [bool((model.gc1.weight.abs() <= bound).all()), str(model)]
fill(model)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
idx_train = torch.LongTensor(range(8))


def train_step(features, adj, labels):
    optimizer.zero_grad()
    output = model(features, adj)
    loss = F.nll_loss(output[idx_train], labels[idx_train])
    loss.backward()
    optimizer.step()
    return loss


results["losses"] = [train_step(features, adj, labels).item() for _ in range(6)]
model.eval()
output = model(features, adj)
preds = output.max(1)[1].type_as(labels)
correct = preds.eq(labels).double()
results["accuracy"] = [
    correct.sum().item() / len(labels),
    correct.dtype,
    preds.type(),
    torch.typename(preds),
]
loader = data.DataLoader(
    data.TensorDataset(features, labels), batch_size=4, sampler=SubsetRandomSampler([1, 3, 5])
)
results["loader"] = sorted(b for _, y in loader for b in y.tolist())
results["instances"] = [
    isinstance(features, torch.FloatTensor),
    isinstance(labels, torch.LongTensor),
    isinstance(labels, torch.FloatTensor),
]
results["made"] = [
    torch.ByteTensor([1, 2]),
    torch.DoubleTensor([[0.5]]),
    torch.IntTensor(2, 3).size(),
    torch.BoolTensor([True]),
    torch.Tensor().shape,
]
