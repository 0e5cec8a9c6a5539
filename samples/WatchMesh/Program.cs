using System.Runtime.InteropServices;
using Mesh.Core.Workloads;
using Mesh.Xds;
using Mesh.Xds.Client;
using Mesh.Xds.Workloads;

if (args is not [var address, var roots, ..])
{
    Console.Error.WriteLine("usage: WatchMesh HOST:PORT ROOTS.pem [TOKEN-FILE]");
    return 1;
}

// To istiod a client is a ztunnel of some node.
var options = new XdsClientOptions
{
    Endpoint = new ControlPlaneEndpoint { Address = ControlPlaneEndpoint.ParseAddress(address), RootCertificates = roots, Token = args.ElementAtOrDefault(2) },
    Node = new XdsNode("ztunnel~10.0.0.1~watch-mesh.istio-system~istio-system.svc.cluster.local"),
};
var stopped = new TaskCompletionSource();
using var signal = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => { context.Cancel = true; stopped.TrySetResult(); });

var state = new MeshState();
await using var client = new XdsClient(options);
var resources = new MeshResources(state);
client.Subscribe(resources.AddressType, new Watcher(resources));
client.Start();
if (await Task.WhenAny(client.Ready, stopped.Task, Task.Delay(TimeSpan.FromSeconds(10))) != client.Ready)
{
    Console.Error.WriteLine($"nothing from {address}: {client.LastError ?? "no answer"}");
    return 1;
}

Console.WriteLine($"ready: {state.Current.WorkloadCount} workloads, {state.Current.ServiceCount} services");
await stopped.Task;
return 0;

/// <summary>Keeps the mesh, and says what became of it with each message of the control plane.</summary>
internal sealed class Watcher(MeshResources mesh) : IXdsHandler<MeshAddress>
{
    public void Apply(XdsUpdate<MeshAddress> update)
    {
        mesh.Apply(update);
        foreach (var name in update.Removed)
        {
            Console.WriteLine($"removed {name}");
        }

        foreach (var resource in update.Changed)
        {
            var what = resource.Value.Workload is { } workload ? $"workload {workload.Identity} at {string.Join(", ", workload.Addresses)}"
                : $"service {resource.Value.Service!.Hostname} at {string.Join(", ", resource.Value.Service.Vips)}";
            Console.WriteLine($"{(resource.IsNew ? "added" : "changed")} {what}");
        }
    }
}
