using System.Collections.Immutable;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;

namespace Mesh.Core.Configuration;

/// <summary>A mesh described in one YAML file, in the format of ztunnel's <c>LOCAL_XDS_PATH</c> (ztunnel §6a).</summary>
/// <remarks>Beyond that format, fields at the top that begin with <c>x-</c> are left to other programs.</remarks>
/// <param name="Workloads">The workloads.</param>
/// <param name="Services">The services.</param>
/// <param name="Policies">The L4 authorization policies.</param>
public sealed record LocalConfiguration(ImmutableArray<Workload> Workloads, ImmutableArray<Service> Services, ImmutableArray<L4Authorization> Policies)
{
    /// <summary>Reads a file.</summary>
    /// <exception cref="ConfigurationException">The file has faults; each names line and column, what is wrong and what is allowed.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static LocalConfiguration Load(string path) => Parse(File.ReadAllText(path), path);

    /// <summary>Reads a text.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="file">The name that faults are reported under.</param>
    /// <exception cref="ConfigurationException">The text has faults; each names line and column, what is wrong and what is allowed.</exception>
    public static LocalConfiguration Parse(string yaml, string file = "yaml")
    {
        ArgumentNullException.ThrowIfNull(yaml);
        return new LocalConfigurationReader(file).Read(yaml);
    }

    /// <summary>What a snapshot holds, ordered by UID, namespace and name.</summary>
    public static LocalConfiguration Of(MeshSnapshot mesh)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        return new LocalConfiguration(
            [.. mesh.Workloads.OrderBy(workload => workload.Uid, StringComparer.Ordinal)],
            [.. mesh.Services.OrderBy(service => service.Key.ToString(), StringComparer.Ordinal)],
            [.. mesh.Policies.Policies.OrderBy(policy => policy.Key, StringComparer.Ordinal)]);
    }

    /// <summary>Writes this mesh as YAML that <see cref="Parse"/> reads.</summary>
    /// <remarks>A mesh with references that lead nowhere, as a control plane may send, is written all the same; <see cref="Parse"/> then names them.</remarks>
    public void WriteTo(TextWriter output)
    {
        ArgumentNullException.ThrowIfNull(output);
        LocalConfigurationWriter.Write(this, output);
    }

    /// <summary>Makes a state that holds this mesh.</summary>
    public MeshState ToState()
    {
        var state = new MeshState();
        ApplyTo(state);
        return state;
    }

    /// <summary>Publishes this mesh in a state, in one snapshot. What the state has from elsewhere, such as a control plane, stays.</summary>
    /// <param name="state">The state.</param>
    /// <param name="previous">What this takes the place of; null for nothing.</param>
    public void ApplyTo(MeshState state, LocalConfiguration? previous = null)
    {
        ArgumentNullException.ThrowIfNull(state);
        state.Update(editor =>
        {
            previous?.RemoveFrom(editor, state.Current);
            foreach (var workload in Workloads)
            {
                editor.Upsert(workload);
            }

            foreach (var service in Services)
            {
                editor.Upsert(service);
            }

            foreach (var policy in Policies)
            {
                editor.Upsert(policy);
            }
        });
    }

    // Only what is still ours: another source may have put something in its place.
    private void RemoveFrom(MeshEditor editor, MeshSnapshot mesh)
    {
        foreach (var workload in Workloads.Where(workload => ReferenceEquals(mesh.FindWorkload(workload.Uid), workload)))
        {
            editor.RemoveWorkload(workload.Uid);
        }

        foreach (var service in Services.Where(service => ReferenceEquals(mesh.FindService(service.Key), service)))
        {
            editor.RemoveService(service.Key);
        }

        foreach (var policy in Policies.Where(policy => mesh.Policies.TryGet(policy.Key, out var there) && ReferenceEquals(there, policy)))
        {
            editor.RemovePolicy(policy.Key);
        }
    }
}
